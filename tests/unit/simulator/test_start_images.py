"""Nodes that take a start image crop it around its centre, as ComfyUI's do, and do not squeeze it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.unit.simulator.model_graphs import Graph
from tests.unit.simulator.simulator_bench import ExecutorHarness, node

VIDEO_SIZE: dict[str, Any] = {"width": 128, "height": 128, "length": 9, "batch_size": 1}
START: dict[str, Any] = {
    "start": node("LoadImage", image="stripes.png"),
    "vae": node("VAELoader", vae_name="wan_2.1_vae.safetensors"),
}


def wan() -> Graph:
    clip = {"clip": ["clip", 0]}
    inputs = {
        "positive": ["text", 0],
        "negative": ["text", 0],
        "vae": ["vae", 0],
        "start_image": ["start", 0],
    }
    return START | {
        "clip": node("CLIPLoader", clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", type="wan"),
        "text": node("CLIPTextEncode", text="a", **clip),
        "latent": node("WanImageToVideo", **inputs, **VIDEO_SIZE),
        "decoded": node("VAEDecode", samples=["latent", 2], vae=["vae", 0]),
    }


def wan22() -> Graph:
    return START | {
        "latent": node("Wan22ImageToVideoLatent", vae=["vae", 0], start_image=["start", 0], **VIDEO_SIZE),
        "decoded": node("VAEDecode", samples=["latent", 0], vae=["vae", 0]),
    }


def ltx() -> Graph:
    inputs = {"vae": ["vae", 0], "image": ["start", 0], "latent": ["empty", 0]}
    return START | {
        "empty": node("EmptyLTXVLatentVideo", **VIDEO_SIZE),
        "latent": node("LTXVImgToVideoInplace", **inputs, strength=1.0, bypass=False),
        "decoded": node("VAEDecode", samples=["latent", 0], vae=["vae", 0]),
    }


@pytest.mark.parametrize("graph", [wan(), wan22(), ltx()], ids=["wan", "wan22", "ltx"])
def test_a_start_image_is_cropped_around_its_centre(graph: Graph, bench: ExecutorHarness) -> None:
    """Red and blue quarters at both ends of an image of twice the width are cut off."""
    image = Image.new("RGB", (512, 256), (255, 0, 0))
    image.paste((0, 255, 0), (128, 0, 384, 256))
    image.paste((0, 0, 255), (384, 0, 512, 256))
    image.save(bench.folders.input / "stripes.png")
    first = {
        "first": node("ImageFromBatch", image=["decoded", 0], batch_index=0, length=1),
        "saved": node("SaveImage", images=["first", 0], filename_prefix="first"),
    }
    (path,) = bench.saved_paths(bench.run_graph(graph | first))
    with Image.open(path) as made:
        pixels = np.asarray(made.convert("RGB")).astype(int)
    for column in (8, 64, 119):
        assert np.abs(pixels[:, column].mean(axis=0) - [0, 255, 0]).max() < 40

"""Graphs of models run, and what they make depends on what it should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from tests.unit.simulator.model_graphs import (
    GRAPHS,
    Graph,
    flux,
    flux2,
    inpaint,
    sdxl,
    upscale,
    wan_i2v,
    wan_t2v,
)
from tests.unit.simulator.simulator_bench import GIB, ExecutorHarness, node


def pixels(path: Path) -> Any:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_family_runs_and_puts_out_a_file(name: str, bench: ExecutorHarness) -> None:
    paths = bench.saved_paths(bench.run_graph(GRAPHS[name]()))
    assert [path.stat().st_size > 100 for path in paths] == [True]


@pytest.mark.parametrize(
    ("name", "size", "frames", "fps"),
    [("wan_t2v", (128, 64), 9, 16), ("ltx2", (256, 128), 9, 25), ("cogvideo", (128, 64), 9, 8)],
)
def test_videos_have_the_requested_size_length_and_rate(
    name: str, size: tuple[int, int], frames: int, fps: int, bench: ExecutorHarness
) -> None:
    (path,) = bench.saved_paths(bench.run_graph(GRAPHS[name]()))
    with av.open(path) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == size
        assert stream.average_rate is not None
        assert float(stream.average_rate) == fps
        assert len(list(file.decode(stream))) == frames
        assert len(file.streams.audio) == (name == "ltx2")
        assert json.loads(file.metadata["prompt"])["saved"]["class_type"] == "SaveVideo"


def test_the_same_graph_makes_the_same_image_on_every_instance(tmp_path: Path) -> None:
    benches = [ExecutorHarness(tmp_path / name) for name in ("one", "two")]
    first, second = (bench.saved_paths(bench.run_graph(sdxl()))[0].read_bytes() for bench in benches)
    assert first == second


@pytest.mark.parametrize(
    "changed",
    [
        sdxl(seed=2),
        sdxl(steps=5),
        sdxl(cfg=6.5),
        sdxl(denoise=0.5),
        sdxl(sampler_name="dpmpp_2m"),
        sdxl(scheduler="karras"),
        sdxl(prompt="two herons"),
        sdxl(negative="noise"),
        sdxl() | {"latent": node("EmptyLatentImage", width=128, height=72, batch_size=1)},
        sdxl() | {"model": node("CheckpointLoaderSimple", ckpt_name="other.safetensors")},
    ],
    ids=["seed", "steps", "cfg", "denoise", "sampler", "scheduler", "prompt", "negative", "size", "model"],
)
def test_every_parameter_counts(changed: Graph, bench: ExecutorHarness) -> None:
    plain, other = (pixels(bench.saved_paths(bench.run_graph(graph))[0]) for graph in (sdxl(), changed))
    assert plain.shape != other.shape or np.abs(plain - other).max() > 8


def test_members_of_a_batch_differ(bench: ExecutorHarness) -> None:
    batch = node("EmptyLatentImage", width=64, height=64, batch_size=3)
    pictures = [pixels(path) for path in bench.saved_paths(bench.run_graph(sdxl() | {"latent": batch}))]
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_images_say_in_their_metadata_that_they_are_simulated(bench: ExecutorHarness) -> None:
    (path,) = bench.saved_paths(bench.run_graph(flux(), extra_pnginfo={"workflow": {"id": "w"}}))
    with Image.open(path) as picture:
        assert isinstance(picture, PngImageFile)
        texts = {key: json.loads(text) for key, text in picture.text.items()}
    assert texts["pixelfactory_simulated"] is True
    assert texts["workflow"] == {"id": "w"}
    assert texts["prompt"]["sampled"]["inputs"]["seed"] == 1


def test_an_upscaled_image_is_the_image_four_times_as_large(bench: ExecutorHarness) -> None:
    (path,) = bench.saved_paths(bench.run_graph(upscale()))
    large = pixels(path)
    assert large.shape == (128, 256, 3)
    assert large[16, 64].tolist() == [255, 0, 0]
    assert large[112, 64].tolist() == [0, 0, 255]


def test_a_start_image_shows_in_the_video(bench: ExecutorHarness) -> None:
    (with_start,) = bench.saved_paths(bench.run_graph(wan_i2v()))
    with av.open(with_start) as file:
        frame = next(file.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    above, below = frame[:24].mean(axis=(0, 1)), frame[-24:].mean(axis=(0, 1))
    assert above[0] - below[0] > 60
    assert below[2] - above[2] > 60


def test_inpainting_keeps_what_the_mask_does_not_cover(bench: ExecutorHarness) -> None:
    (path,) = bench.saved_paths(bench.run_graph(inpaint()))
    with Image.open(path) as picture:
        made = np.asarray(picture.convert("RGB").resize((64, 32))).astype(int)
    assert np.abs(made[4:10, 4:28] - [255, 0, 0]).max() < 40
    assert np.abs(made[22:, 40:60] - [0, 0, 255]).mean() > 10


def test_loading_and_working_memory_are_accounted_for(tmp_path: Path) -> None:
    bench = ExecutorHarness(tmp_path, vram=24 * GIB)
    before = bench.device.free_bytes
    bench.saved_paths(bench.run_graph(sdxl()))
    assert before - bench.device.free_bytes == 6_940_000_000
    failed = bench.run_graph(flux2())
    event, data = failed.messages[-1]
    assert (event, data["exception_type"]) == ("execution_error", "torch.OutOfMemoryError")
    assert data["node_type"] == "SamplerCustomAdvanced"
    assert bench.device.free_bytes == before


def test_a_video_too_long_for_the_memory_fails(tmp_path: Path) -> None:
    bench = ExecutorHarness(tmp_path, vram=24 * GIB)
    long = node("EmptyHunyuanLatentVideo", width=1280, height=720, length=241, batch_size=1)
    failed = bench.run_graph(wan_t2v() | {"latent": long})
    assert failed.messages[-1][1]["exception_type"] == "torch.OutOfMemoryError"


def test_samplers_report_each_step_with_optional_previews(tmp_path: Path) -> None:
    bench = ExecutorHarness(tmp_path, previews=True)
    bench.run_graph(sdxl(steps=3))
    assert [step["value"] for step in bench.event_sink.events_of_type("progress")] == [1, 2, 3]
    assert [picture.image_type for picture in bench.event_sink.previews] == ["JPEG"] * 3
    bench.event_sink.previews.clear()
    bench.run_graph(sdxl(steps=4), preview_method="none")
    assert bench.event_sink.previews == []
    assert [step["value"] for step in bench.event_sink.events_of_type("progress")] == [1, 4]

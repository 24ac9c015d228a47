"""What SaveImageAdvanced writes: PNG with 8 or 16 bits a channel, and OpenEXR in linear light."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL.PngImagePlugin import PngInfo

from comfy_instances.simulator.nodes.files.stills import encode_deep_png, encode_exr
from tests.unit.simulator.simulator_bench import ExecutorHarness, node

GREY = 128


def decode(data: bytes, format: str) -> np.ndarray[Any, Any]:
    """Decode an image as FFmpeg does."""
    with av.open(io.BytesIO(data), "r") as file:
        frame = next(file.decode(file.streams.video[0]))
        return frame.reformat(format=format).to_ndarray()


def pixels(channels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((3, 5, channels), GREY, np.uint8)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_deep_png_holds_all_bits_and_texts(channels: int) -> None:
    info = PngInfo()
    info.add_text("one", "1")
    info.add_text("two", "2")
    data = encode_deep_png(pixels(channels), info)
    format = {3: "rgb48le", 4: "rgba64le"}[channels]
    assert np.array_equal(decode(data, format), np.full((3, 5, channels), GREY * 257))
    assert data[24] == 16
    assert 0 < data.index(b"tEXtone\x001") < data.index(b"tEXttwo\x002") < data.index(b"IDAT")


@pytest.mark.parametrize(
    ("color_space", "value"), [("sRGB", 0.2158605), ("HDR", 0.08399), ("linear", GREY / 255)]
)
def test_an_exr_is_in_linear_light(color_space: str, value: float) -> None:
    decoded = decode(encode_exr(pixels(3), color_space), "gbrpf32le")
    assert decoded.shape == (3, 5, 3)
    assert np.allclose(decoded, value, atol=1e-4)


def test_keeps_the_transparency_of_an_exr() -> None:
    assert np.allclose(decode(encode_exr(pixels(4), "linear"), "gbrapf32le"), GREY / 255)


def test_the_node_writes_what_was_chosen(bench: ExecutorHarness) -> None:
    def save(prefix: str, format: str, depth: str) -> dict[str, Any]:
        chosen = {"format": format, "format.bit_depth": depth, "format.input_color_space": "sRGB"}
        return node("SaveImageAdvanced", images=["1", 0], filename_prefix=prefix, **chosen)

    made = bench.run_graph({
        "1": node("EmptyImage", width=32, height=16, batch_size=2, color=255),
        "2": save("plain", "png", "8-bit"),
        "3": save("deep", "png", "16-bit"),
        "4": save("light", "exr", "32-bit float"),
    })  # fmt: skip
    files = {path.name: path.read_bytes() for path in map(Path, bench.saved_paths(made))}
    assert len(files) == 6
    assert {name: data[24] for name, data in files.items() if name.endswith(".png")} == {
        "plain_00001_.png": 8, "plain_00002_.png": 8, "deep_00001_.png": 16, "deep_00002_.png": 16,
    }  # fmt: skip
    assert files["light_00002_.exr"].startswith(b"v/1\x01")

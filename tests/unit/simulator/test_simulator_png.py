"""PNG files of the simulator hold the pixels and texts that they are made of."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from comfy_instances.simulator.nodes.files.png import add_chunk, encode_png
from comfy_instances.simulator.nodes.values import ImageArray


def noise(*shape: int) -> ImageArray:
    return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    "frame",
    [
        noise(1, 1, 3),
        noise(1, 9, 4),
        noise(9, 1, 3),
        noise(31, 17, 4),
        noise(40, 60, 3)[::2, ::-3],
        noise(5, 7, 1),
        noise(5, 7, 2),
    ],
    ids=["pixel", "row", "column", "alpha", "strided", "grey", "grey-alpha"],
)
def test_pixels_and_texts_are_kept(frame: ImageArray) -> None:
    info = PngInfo()
    info.add_text("prompt", '{"1": {"inputs": {"text": "\\u00e9"}}}')
    info.add_text("note", "é 雨")
    data = add_chunk(encode_png(frame, info), b"tEXt", b"number\0" + b"7")
    with Image.open(io.BytesIO(data)) as checked:
        checked.verify()
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, PngImageFile)
        assert image.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[frame.shape[2]]
        prompt = '{"1": {"inputs": {"text": "\\u00e9"}}}'
        assert image.text == {"number": "7", "prompt": prompt, "note": "é 雨"}
        assert np.array_equal(np.asarray(image).reshape(frame.shape), frame)

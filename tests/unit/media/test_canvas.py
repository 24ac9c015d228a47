"""Input images on the canvas of an output."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from orchestrator.media.canvas import CanvasLayout, Padding, place_image, scale_image
from orchestrator.media.inputs.input_images import ImageLimits, InputImage, decode_image
from tests.support.images import png


def read(width: int, height: int) -> InputImage:
    return decode_image(png(width, height), ImageLimits())


def pixels(image: InputImage) -> NDArray[Any]:
    with Image.open(io.BytesIO(image.data)) as opened:
        return np.asarray(opened).astype(int)


def test_leaves_an_image_of_the_right_size_alone() -> None:
    image = read(64, 48)
    layout = CanvasLayout(image=(64, 48), canvas=(64, 48), bordered=(64, 48))
    assert place_image(image, layout) is image
    assert scale_image(image, (64, 48)) is image


def test_scales_an_image() -> None:
    scaled = scale_image(read(64, 48), (32, 24))
    assert (scaled.width, scaled.height, scaled.has_alpha) == (32, 24, False)


def test_pads_around_the_centre_with_what_is_to_be_filled() -> None:
    layout = CanvasLayout(image=(64, 48), canvas=(80, 48), bordered=(80, 48))
    transparent, white = (place_image(read(64, 48), layout, padding) for padding in Padding)
    for row in (0, 47):
        assert [pixels(transparent)[row, column][3] for column in (0, 7, 8, 71, 72, 79)] == [
            0, 0, 255, 255, 0, 0,
        ]  # fmt: skip
        assert pixels(white)[row, 0].tolist() == [255, 255, 255, 255]
    assert pixels(white)[0, 8].tolist() == [200, 30, 30, 255]


@given(
    width=st.integers(16, 70),
    height=st.integers(16, 70),
    right=st.integers(0, 20),
    below=st.integers(0, 20),
)
def test_borders_repeat_the_edges(width: int, height: int, right: int, below: int) -> None:
    image = read(width, height)
    bordered = (width + right, height + below)
    placed = place_image(
        image, CanvasLayout(image=(width, height), canvas=(width, height), bordered=bordered)
    )
    original = pixels(image)[..., :3]
    x, y = right // 2, below // 2
    expected = np.pad(original, ((y, below - y), (x, right - x), (0, 0)), mode="edge")
    assert np.array_equal(pixels(placed)[..., :3], expected)

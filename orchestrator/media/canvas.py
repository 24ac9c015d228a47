"""Scale an input image, and place it on a canvas. CPU-bound: call the functions in a worker thread."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from PIL import Image

from orchestrator.media.images import encode_png, to_8bit_mode
from orchestrator.media.inputs.input_images import InputImage, open_input_image, to_input_image

_GREY = 127


class Padding(StrEnum):
    """What a canvas has around its image."""

    TRANSPARENT = "transparent"
    WHITE = "white"


@dataclass(frozen=True, kw_only=True, slots=True)
class CanvasLayout:
    """Where an image is placed; everything is centred."""

    #: Size to which the image is scaled.
    image: tuple[int, int]
    #: Size of the canvas.
    canvas: tuple[int, int]
    #: Size with a border around the canvas, which repeats its outermost pixels.
    bordered: tuple[int, int]


def scale_image(image: InputImage, size: tuple[int, int]) -> InputImage:
    """Return the image in another size; the same object if it has that size."""
    return place_image(image, CanvasLayout(image=size, canvas=size, bordered=size))


def place_image(
    image: InputImage, layout: CanvasLayout, padding: Padding = Padding.TRANSPARENT
) -> InputImage:
    """Return the image on its canvas as a PNG; the same object if nothing changes."""
    if (image.width, image.height) == layout.image == layout.canvas == layout.bordered:
        return image
    with open_input_image(image) as opened:
        pixels = to_8bit_mode(opened)
    if pixels.size != layout.image:
        pixels = pixels.resize(layout.image, Image.Resampling.LANCZOS)
    placed = _repeat_edges(_pad(pixels, layout.canvas, padding), layout.bordered)
    return to_input_image(encode_png(placed), "image/png", placed)


def _pad(image: Image.Image, size: tuple[int, int], padding: Padding) -> Image.Image:
    if image.size == size:
        return image
    colour = (_GREY, _GREY, _GREY, 0) if padding is Padding.TRANSPARENT else (255, 255, 255, 255)
    canvas = Image.new("RGBA", size, colour)
    canvas.paste(image.convert("RGBA"), _offset(image.size, size))
    return canvas


def _repeat_edges(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the image with a border that repeats its first and last columns and rows."""
    if image.size == size:
        return image
    (width, height), (full_width, full_height) = image.size, size
    left, top = _offset(image.size, size)
    bordered = Image.new(image.mode, size)
    bordered.paste(image, (left, top))
    right, bottom = left + width, top + height
    for column, edge, length in ((left, 0, left), (right - 1, right, full_width - right)):
        if length:
            strip = bordered.crop((column, top, column + 1, bottom)).resize((length, height))
            bordered.paste(strip, (edge, top))
    for row, edge, length in ((top, 0, top), (bottom - 1, bottom, full_height - bottom)):
        if length:
            strip = bordered.crop((0, row, full_width, row + 1)).resize((full_width, length))
            bordered.paste(strip, (0, edge))
    return bordered


def _offset(inner: tuple[int, int], outer: tuple[int, int]) -> tuple[int, int]:
    return (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2

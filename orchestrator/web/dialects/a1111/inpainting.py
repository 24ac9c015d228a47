"""Input images and masks as the web UI prepares them: resized, blurred, inverted, cut to the masked part."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageFilter, ImageOps

from orchestrator.errors import invalid_field
from orchestrator.media.inputs.input_images import InputImage, open_input_image

Size = tuple[int, int]
Box = tuple[int, int, int, int]
#: Names of the modes of `resize_mode`.
STRETCH, CROP, FILL = 0, 1, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskOptions:
    """How a mask is used."""

    blur: int = 4
    is_inverted: bool = False
    #: Whether the masked part alone is drawn, at the full size.
    only_masked: bool = False
    padding: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedImages:
    """What the model gets, and how its result is put back."""

    image: bytes
    mask: bytes | None = None
    #: The part of the input image that is drawn; None: the whole of it.
    box: Box | None = None


def prepare_images(
    image: InputImage, mask: InputImage | None, size: Size, resize_mode: int, options: MaskOptions
) -> PreparedImages:
    """Return image and mask at the size of the result. CPU-bound: call it in a worker thread.

    The mask is transparent where the web UI's is white. Raises InvalidRequest for a mask of nothing.
    """
    with open_input_image(image) as opened:
        picture = opened.convert("RGB")
    if mask is None:
        return PreparedImages(image=_encode(_resize(picture, size, resize_mode)))
    with open_input_image(mask) as opened:
        drawn = _to_grey(opened.convert("RGBA")).resize(picture.size, Image.Resampling.BILINEAR)
    if options.is_inverted:
        drawn = ImageOps.invert(drawn)
    if options.blur:
        drawn = drawn.filter(ImageFilter.GaussianBlur(options.blur))
    bounds = drawn.getbbox()
    if bounds is None:
        raise invalid_field("mask", "must have white pixels: they mark what is redrawn")
    if not options.only_masked:
        whole = _resize(drawn, size, resize_mode)
        return PreparedImages(image=_encode(_resize(picture, size, resize_mode)), mask=_to_hole(whole))
    box = _fit_box(bounds, options.padding, picture.size, size)
    part, part_mask = picture.crop(box).resize(size, _LANCZOS), drawn.crop(box).resize(size, _LANCZOS)
    return PreparedImages(image=_encode(part), mask=_to_hole(part_mask), box=box)


_LANCZOS = Image.Resampling.LANCZOS


def paste_result(result: bytes, image: InputImage, mask: InputImage, box: Box, options: MaskOptions) -> bytes:
    """Return the input image with the drawn part in its place. CPU-bound."""
    with open_input_image(image) as opened:
        picture = opened.convert("RGB")
    with open_input_image(mask) as opened:
        drawn = _to_grey(opened.convert("RGBA")).resize(picture.size, Image.Resampling.BILINEAR)
    if options.is_inverted:
        drawn = ImageOps.invert(drawn)
    if options.blur:
        drawn = drawn.filter(ImageFilter.GaussianBlur(options.blur))
    with Image.open(io.BytesIO(result)) as made:
        part = made.convert("RGB").resize((box[2] - box[0], box[3] - box[1]), _LANCZOS)
    picture.paste(part, box[:2], drawn.crop(box))
    return _encode(picture)


def resize_result(data: bytes, size: Size, *, crops: bool) -> bytes:
    """Return an image at a size: cut to its shape, or as large as fits into it. CPU-bound."""
    with Image.open(io.BytesIO(data)) as image:
        if image.size == size:
            return data
        resized = ImageOps.fit(image, size, _LANCZOS) if crops else ImageOps.contain(image, size, _LANCZOS)
        return _encode(resized)


def size_of(data: bytes) -> Size:
    """Return the size of an image file."""
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def _to_grey(mask: Image.Image) -> Image.Image:
    """Return how white a mask is; one that is drawn on transparency has its opacity."""
    alpha = mask.getchannel("A")
    lightness = mask.convert("RGB").convert("L")
    if alpha.getextrema()[0] == 255:
        return lightness
    # Editors save the strokes alone: what is transparent is not marked.
    black = Image.new("L", mask.size, 0)
    black.paste(lightness if lightness.getextrema()[1] else alpha, mask=alpha)
    return black


def _to_hole(mask: Image.Image) -> bytes:
    hole = Image.new("RGBA", mask.size, "white")
    hole.putalpha(ImageOps.invert(mask))
    return _encode(hole)


def _resize(image: Image.Image, size: Size, mode: int) -> Image.Image:
    if image.size == size or mode == STRETCH:
        return image.resize(size, _LANCZOS)
    if mode == CROP:
        return ImageOps.fit(image, size, _LANCZOS)
    inner = ImageOps.contain(image, size, _LANCZOS)
    filled = ImageOps.fit(image, size, _LANCZOS).filter(ImageFilter.GaussianBlur(16))
    filled.paste(inner, ((size[0] - inner.width) // 2, (size[1] - inner.height) // 2))
    return filled


def _fit_box(bounds: Box, padding: int, image: Size, size: Size) -> Box:
    """Return the part to draw: the masked one with its padding, in the shape of the result."""
    left, top = max(bounds[0] - padding, 0), max(bounds[1] - padding, 0)
    right, bottom = min(bounds[2] + padding, image[0]), min(bounds[3] + padding, image[1])
    width, height = right - left, bottom - top
    if width * size[1] < height * size[0]:
        width = min(round(height * size[0] / size[1]), image[0])
    else:
        height = min(round(width * size[1] / size[0]), image[1])
    x = min(max((left + right - width) // 2, 0), image[0] - width)
    y = min(max((top + bottom - height) // 2, 0), image[1] - height)
    return x, y, x + width, y + height


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

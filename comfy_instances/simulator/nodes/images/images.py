"""Nodes that make and change pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image as Pictures
from PIL import ImageFilter

from comfy_instances.simulator.nodes.call import Call, NodeFunction
from comfy_instances.simulator.nodes.images.resizing import check_size, scale
from comfy_instances.simulator.nodes.values import Floats, Image


def to_bytes(floats: Floats) -> Image:
    """0..1 -> 0..255, cut off at both ends."""
    return (np.clip(floats, 0, 1) * 255).astype(np.uint8)


def to_floats(image: Image) -> Floats:
    return image.astype(np.float32) / 255


def empty(width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[Image]:
    check_size(batch_size, height, width, 3)
    rgb = (color >> 16 & 0xFF, color >> 8 & 0xFF, color & 0xFF)
    return (np.full((batch_size, height, width, 3), rgb, dtype=np.uint8),)


def invert(image: Image) -> tuple[Image]:
    return (255 - image,)


def batch(first: Image, second: Image) -> Image:
    """Both in one batch, the second in the first's size; alpha is added where only one has it."""
    channels = max(first.shape[3], second.shape[3])
    first, second = (_with_channels(image, channels) for image in (first, second))
    return np.concatenate([first, scale(second, first.shape[2], first.shape[1], "bilinear", "center")])


def image_batch(image1: Image, image2: Image) -> tuple[Image]:
    return (batch(image1, image2),)


def batch_many(images: dict[str, Image]) -> tuple[Image]:
    first, *others = images.values()
    for other in others:
        first = batch(first, other)
    return (first,)


def repeat(image: Image, amount: int) -> tuple[Image]:
    check_size(amount, *image.shape)
    return (np.repeat(image, amount, axis=0),)


def from_batch(image: Image, batch_index: int, length: int) -> tuple[Image]:
    index = batch_index + len(image) if batch_index < 0 else batch_index
    index = max(0, min(len(image) - 1, index))
    return (image[index : index + length],)


def crop(image: Image, width: int, height: int, x: int, y: int) -> tuple[Image]:
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return (image[:, y : y + height, x : x + width],)


def crop_region(image: Image, crop_region: dict[str, int]) -> tuple[Image]:
    return crop(image, **{key: crop_region[key] for key in ("width", "height", "x", "y")})


def center_crop(images: Image, width: int, height: int) -> tuple[Image]:
    y, x = max(0, (images.shape[1] - height) // 2), max(0, (images.shape[2] - width) // 2)
    return (images[:, y : y + height, x : x + width],)


def flip(image: Image, flip_method: str) -> tuple[Image]:
    return (np.flip(image, axis=1 if flip_method.startswith("x") else 2),)


def rotate(image: Image, rotation: str) -> tuple[Image]:
    turns = int(rotation.split()[0]) // 90 if rotation != "none" else 0
    return (np.rot90(image, k=turns, axes=(2, 1)),)


def blend(image1: Image, image2: Image, blend_factor: float, blend_mode: str) -> tuple[Image]:
    other = scale(image2, image1.shape[2], image1.shape[1], "bicubic", "center")
    a, b = to_floats(image1[..., :3]), to_floats(other[..., :3])
    return (to_bytes(a * (1 - blend_factor) + _mixed(a, b, blend_mode) * blend_factor),)


def _mixed(a: Floats, b: Floats, mode: str) -> Floats:
    match mode:
        case "multiply":
            return a * b
        case "screen":
            return 1 - (1 - a) * (1 - b)
        case "overlay":
            return np.where(a <= 0.5, 2 * a * b, 1 - 2 * (1 - a) * (1 - b))
        case "soft_light":
            return np.where(b <= 0.5, a - (1 - 2 * b) * a * (1 - a), a + (2 * b - 1) * (np.sqrt(a) - a))
        case "difference":
            return a - b
    return b


def blur(image: Image, blur_radius: int, sigma: float) -> tuple[Image]:
    if blur_radius == 0:
        return (image,)
    return (_filtered(image, ImageFilter.GaussianBlur(min(sigma, blur_radius))),)


def sharpen(image: Image, sharpen_radius: int, sigma: float, alpha: float) -> tuple[Image]:
    if sharpen_radius == 0:
        return (image,)
    unsharp = ImageFilter.UnsharpMask(min(sigma, sharpen_radius), round(100 * alpha), 0)
    return (_filtered(image, unsharp),)


def quantize(image: Image, colors: int, dither: str) -> tuple[Image]:
    mode = Pictures.Dither.NONE if dither == "none" else Pictures.Dither.FLOYDSTEINBERG
    frames = [Pictures.fromarray(np.ascontiguousarray(frame[..., :3])) for frame in image]
    return (np.stack([np.asarray(f.quantize(colors, dither=mode).convert("RGB")) for f in frames]),)


def adjust_brightness(images: Image, factor: float) -> tuple[Image]:
    return (to_bytes(to_floats(images) * factor),)


def adjust_contrast(images: Image, factor: float) -> tuple[Image]:
    return (to_bytes((to_floats(images) - 0.5) * factor + 0.5),)


def add_noise(image: Image, seed: int, strength: float) -> tuple[Image]:
    noise = np.random.default_rng(seed).standard_normal(image.shape, dtype=np.float32)
    return (to_bytes(to_floats(image) + strength * noise),)


def stitch(
    image1: Image,
    direction: str,
    match_image_size: bool,
    spacing_width: int,
    spacing_color: str,
    image2: Image | None = None,
) -> tuple[Image]:
    if image2 is None:
        return (image1,)
    across = direction in ("left", "right")
    along, other = (2, 1) if across else (1, 2)
    first, second = _same_length(image1[..., :3], image2[..., :3])
    if match_image_size:
        width, height = (0, first.shape[1]) if across else (first.shape[2], 0)
        second = scale(second, width, height, "lanczos")
    side = max(first.shape[other], second.shape[other])
    pair = [_padded(first, other, side), _padded(second, other, side)]
    if spacing_width:
        shape = list(pair[0].shape)
        shape[along] = spacing_width
        named = {"white": (255, 255, 255), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
        pair.insert(1, np.full(shape, named.get(spacing_color, (0, 0, 0)), np.uint8))
    return (np.concatenate(pair if direction in ("right", "down") else pair[::-1], axis=along),)


def size_of(call: Call, image: Image) -> tuple[int, int, int]:
    batch_size, height, width = image.shape[:3]
    call.tell(f"width: {width}, height: {height}\n batch size: {batch_size}")
    return width, height, batch_size


def _with_channels(image: Image, channels: int) -> Image:
    missing = channels - image.shape[3]
    return np.pad(image, [(0, 0)] * 3 + [(0, missing)], constant_values=255) if missing else image


def _same_length(first: Image, second: Image) -> tuple[Image, Image]:
    """Both batches in the longer one's length; the last picture repeats."""
    length = max(len(first), len(second))
    first_index, second_index = (np.minimum(np.arange(length), len(image) - 1) for image in (first, second))
    return first[first_index], second[second_index]


def _padded(image: Image, axis: int, side: int) -> Image:
    missing = side - image.shape[axis]
    before = [(missing // 2, missing - missing // 2) if i == axis else (0, 0) for i in range(4)]
    return np.pad(image, before)


def _filtered(image: Image, kernel: ImageFilter.Filter) -> Image:
    frames = [Pictures.fromarray(np.ascontiguousarray(frame)).filter(kernel) for frame in image]
    return np.stack([np.asarray(frame) for frame in frames])


NODES: Mapping[str, NodeFunction] = {
    "EmptyImage": empty,
    "ImageInvert": invert,
    "ImageBatch": image_batch,
    "BatchImagesNode": batch_many,
    "RepeatImageBatch": repeat,
    "ImageFromBatch": from_batch,
    "ImageCrop": crop,
    "ImageCropV2": crop_region,
    "CenterCropImages": center_crop,
    "ImageFlip": flip,
    "ImageRotate": rotate,
    "ImageBlend": blend,
    "ImageBlur": blur,
    "ImageSharpen": sharpen,
    "ImageQuantize": quantize,
    "AdjustBrightness": adjust_brightness,
    "AdjustContrast": adjust_contrast,
    "ImageAddNoise": add_noise,
    "ImageStitch": stitch,
    "GetImageSize": size_of,
}

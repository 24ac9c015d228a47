"""Nodes that create and change images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image as PILImage
from PIL import ImageFilter

from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction
from comfy_instances.simulator.nodes.images.frame_memory import join_frames
from comfy_instances.simulator.nodes.images.resizing import check_array_size, scale_to_fit
from comfy_instances.simulator.nodes.values import FloatArray, ImageArray


def to_uint8(floats: FloatArray) -> ImageArray:
    """Convert 0..1 to 0..255, clipped at both ends."""
    return (np.clip(floats, 0, 1) * 255).astype(np.uint8)


def to_float32(image: ImageArray) -> FloatArray:
    return image.astype(np.float32) / 255


def empty_image(width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[ImageArray]:
    check_array_size(batch_size, height, width, 3)
    rgb = (color >> 16 & 0xFF, color >> 8 & 0xFF, color & 0xFF)
    return (np.full((batch_size, height, width, 3), rgb, dtype=np.uint8),)


def invert_image(image: ImageArray) -> tuple[ImageArray]:
    return (255 - image,)


def concatenate_images(first: ImageArray, second: ImageArray) -> ImageArray:
    """Join both into one batch, resize the second to match the first, and add alpha where only one has it."""
    channels = max(first.shape[3], second.shape[3])
    first, second = (_pad_channels(image, channels) for image in (first, second))
    return join_frames(first, scale_to_fit(second, first.shape[2], first.shape[1], "bilinear", "center"))


def batch_two_images(image1: ImageArray, image2: ImageArray) -> tuple[ImageArray]:
    return (concatenate_images(image1, image2),)


def batch_images(images: dict[str, ImageArray]) -> tuple[ImageArray]:
    first, *others = images.values()
    for other in others:
        first = concatenate_images(first, other)
    return (first,)


def repeat_image(image: ImageArray, amount: int) -> tuple[ImageArray]:
    check_array_size(amount, *image.shape)
    return (np.repeat(image, amount, axis=0),)


def image_from_batch(image: ImageArray, batch_index: int, length: int) -> tuple[ImageArray]:
    index = batch_index + len(image) if batch_index < 0 else batch_index
    index = max(0, min(len(image) - 1, index))
    return (image[index : index + length],)


def crop_image(image: ImageArray, width: int, height: int, x: int, y: int) -> tuple[ImageArray]:
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return (image[:, y : y + height, x : x + width],)


def crop_image_region(image: ImageArray, crop_region: dict[str, int]) -> tuple[ImageArray]:
    return crop_image(image, **{key: crop_region[key] for key in ("width", "height", "x", "y")})


def center_crop_images(images: ImageArray, width: int, height: int) -> tuple[ImageArray]:
    y, x = max(0, (images.shape[1] - height) // 2), max(0, (images.shape[2] - width) // 2)
    return (images[:, y : y + height, x : x + width],)


def flip_image(image: ImageArray, flip_method: str) -> tuple[ImageArray]:
    return (np.flip(image, axis=1 if flip_method.startswith("x") else 2),)


def rotate_image(image: ImageArray, rotation: str) -> tuple[ImageArray]:
    turns = int(rotation.split()[0]) // 90 if rotation != "none" else 0
    return (np.rot90(image, k=turns, axes=(2, 1)),)


def blend_images(
    image1: ImageArray, image2: ImageArray, blend_factor: float, blend_mode: str
) -> tuple[ImageArray]:
    other = scale_to_fit(image2, image1.shape[2], image1.shape[1], "bicubic", "center")
    a, b = to_float32(image1[..., :3]), to_float32(other[..., :3])
    return (to_uint8(a * (1 - blend_factor) + _blend_channels(a, b, blend_mode) * blend_factor),)


def _blend_channels(a: FloatArray, b: FloatArray, mode: str) -> FloatArray:
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


def blur_image(image: ImageArray, blur_radius: int, sigma: float) -> tuple[ImageArray]:
    if blur_radius == 0:
        return (image,)
    return (_apply_filter(image, ImageFilter.GaussianBlur(min(sigma, blur_radius))),)


def sharpen_image(image: ImageArray, sharpen_radius: int, sigma: float, alpha: float) -> tuple[ImageArray]:
    if sharpen_radius == 0:
        return (image,)
    unsharp = ImageFilter.UnsharpMask(min(sigma, sharpen_radius), round(100 * alpha), 0)
    return (_apply_filter(image, unsharp),)


def quantize_image(image: ImageArray, colors: int, dither: str) -> tuple[ImageArray]:
    mode = PILImage.Dither.NONE if dither == "none" else PILImage.Dither.FLOYDSTEINBERG
    frames = [PILImage.fromarray(np.ascontiguousarray(frame[..., :3])) for frame in image]
    return (np.stack([np.asarray(f.quantize(colors, dither=mode).convert("RGB")) for f in frames]),)


def adjust_brightness(images: ImageArray, factor: float) -> tuple[ImageArray]:
    return (to_uint8(to_float32(images) * factor),)


def adjust_contrast(images: ImageArray, factor: float) -> tuple[ImageArray]:
    return (to_uint8((to_float32(images) - 0.5) * factor + 0.5),)


def add_image_noise(image: ImageArray, seed: int, strength: float) -> tuple[ImageArray]:
    noise = np.random.default_rng(seed).standard_normal(image.shape, dtype=np.float32)
    return (to_uint8(to_float32(image) + strength * noise),)


def stitch_images(
    image1: ImageArray,
    direction: str,
    match_image_size: bool,
    spacing_width: int,
    spacing_color: str,
    image2: ImageArray | None = None,
) -> tuple[ImageArray]:
    if image2 is None:
        return (image1,)
    across = direction in ("left", "right")
    along, other = (2, 1) if across else (1, 2)
    first, second = _match_batch_length(image1[..., :3], image2[..., :3])
    if match_image_size:
        width, height = (0, first.shape[1]) if across else (first.shape[2], 0)
        second = scale_to_fit(second, width, height, "lanczos")
    side = max(first.shape[other], second.shape[other])
    pair = [_pad_axis(first, other, side), _pad_axis(second, other, side)]
    if spacing_width:
        shape = list(pair[0].shape)
        shape[along] = spacing_width
        named = {"white": (255, 255, 255), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
        pair.insert(1, np.full(shape, named.get(spacing_color, (0, 0, 0)), np.uint8))
    return (np.concatenate(pair if direction in ("right", "down") else pair[::-1], axis=along),)


def get_image_size(context: NodeContext, image: ImageArray) -> tuple[int, int, int]:
    batch_size, height, width = image.shape[:3]
    context.send_text(f"width: {width}, height: {height}\n batch size: {batch_size}")
    return width, height, batch_size


def _pad_channels(image: ImageArray, channels: int) -> ImageArray:
    missing = channels - image.shape[3]
    return np.pad(image, [(0, 0)] * 3 + [(0, missing)], constant_values=255) if missing else image


def _match_batch_length(first: ImageArray, second: ImageArray) -> tuple[ImageArray, ImageArray]:
    """Extend the shorter batch to the length of the longer one by repeating its last image."""
    length = max(len(first), len(second))
    first_index, second_index = (np.minimum(np.arange(length), len(image) - 1) for image in (first, second))
    return first[first_index], second[second_index]


def _pad_axis(image: ImageArray, axis: int, length: int) -> ImageArray:
    missing = length - image.shape[axis]
    before = [(missing // 2, missing - missing // 2) if i == axis else (0, 0) for i in range(4)]
    return np.pad(image, before)


def _apply_filter(image: ImageArray, image_filter: ImageFilter.Filter) -> ImageArray:
    frames = [PILImage.fromarray(np.ascontiguousarray(frame)).filter(image_filter) for frame in image]
    return np.stack([np.asarray(frame) for frame in frames])


NODES: Mapping[str, NodeFunction] = {
    "EmptyImage": empty_image,
    "ImageInvert": invert_image,
    "ImageBatch": batch_two_images,
    "BatchImagesNode": batch_images,
    "RepeatImageBatch": repeat_image,
    "ImageFromBatch": image_from_batch,
    "ImageCrop": crop_image,
    "ImageCropV2": crop_image_region,
    "CenterCropImages": center_crop_images,
    "ImageFlip": flip_image,
    "ImageRotate": rotate_image,
    "ImageBlend": blend_images,
    "ImageBlur": blur_image,
    "ImageSharpen": sharpen_image,
    "ImageQuantize": quantize_image,
    "AdjustBrightness": adjust_brightness,
    "AdjustContrast": adjust_contrast,
    "ImageAddNoise": add_image_noise,
    "ImageStitch": stitch_images,
    "GetImageSize": get_image_size,
}

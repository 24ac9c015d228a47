"""Nodes that resize images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from comfy_instances.simulator.nodes.call import NodeFunction
from comfy_instances.simulator.nodes.images.resizing import crop_to_aspect, resize_batch, scale_to_fit
from comfy_instances.simulator.nodes.values import ImageArray, MaskArray

#: The training sizes of FLUX Kontext.
KONTEXT_SIZES = (
    (672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104),
    (1024, 1024), (1104, 944), (1184, 880), (1248, 832), (1328, 800), (1392, 752), (1456, 720),
    (1504, 688), (1568, 672),
)  # fmt: skip


def scale_image(
    image: ImageArray, upscale_method: str, width: int, height: int, crop: str
) -> tuple[ImageArray]:
    return (scale_to_fit(image, width, height, upscale_method, crop),)


def scale_image_by(image: ImageArray, upscale_method: str, scale_by: float) -> tuple[ImageArray]:
    height, width = image.shape[1:3]
    return (resize_batch(image, round(width * scale_by), round(height * scale_by), upscale_method),)


def scale_image_to_total_pixels(
    image: ImageArray, upscale_method: str, megapixels: float, resolution_steps: int = 1
) -> tuple[ImageArray]:
    height, width = image.shape[1:3]
    factor = math.sqrt(megapixels * 1024 * 1024 / (width * height)) / resolution_steps
    sides = (round(width * factor) * resolution_steps, round(height * factor) * resolution_steps)
    return (resize_batch(image, *sides, upscale_method),)


def scale_image_to_max_dimension(
    image: ImageArray, upscale_method: str, largest_size: int
) -> tuple[ImageArray]:
    height, width = image.shape[1:3]
    factor = largest_size / max(width, height)
    return (resize_batch(image, round(width * factor), round(height * factor), upscale_method),)


def resize_by_longer_edge(images: ImageArray, longer_edge: int) -> tuple[ImageArray]:
    return scale_image_to_max_dimension(images, "lanczos", longer_edge)


def resize_by_shorter_edge(images: ImageArray, shorter_edge: int) -> tuple[ImageArray]:
    height, width = images.shape[1:3]
    factor = shorter_edge / min(width, height)
    return (resize_batch(images, int(width * factor), int(height * factor), "lanczos"),)


def scale_image_for_kontext(image: ImageArray) -> tuple[ImageArray]:
    aspect = image.shape[2] / image.shape[1]
    width, height = min(KONTEXT_SIZES, key=lambda size: abs(size[0] / size[1] - aspect))
    return (scale_to_fit(image, width, height, "lanczos", "center"),)


def resize_image_or_mask(
    input: ImageArray | MaskArray, resize_type: dict[str, Any], scale_method: str
) -> tuple[ImageArray | MaskArray]:
    height, width = input.shape[1:3]
    match resize_type:
        case {"resize_type": "match size", "match": other}:
            sides = (other.shape[2], other.shape[1])
        case {"multiplier": factor}:
            sides = (round(width * factor), round(height * factor))
        case {"longer_size": side}:
            sides = (side, 0) if width >= height else (0, side)
        case {"shorter_size": side}:
            sides = (side, 0) if width <= height else (0, side)
        case {"megapixels": megapixels}:
            factor = math.sqrt(megapixels * 1024 * 1024 / (width * height))
            sides = (round(width * factor), round(height * factor))
        case {"multiple": multiple}:
            sides = (width // multiple * multiple, height // multiple * multiple)
            return (crop_to_aspect(resize_batch(input, width, height), *sides)[:, : sides[1], : sides[0]],)
        case _:
            sides = (resize_type.get("width", 0), resize_type.get("height", 0))
    return (scale_to_fit(input, *sides, scale_method, resize_type.get("crop", "disabled")),)


def resize_and_pad(
    image: ImageArray, target_width: int, target_height: int, padding_color: str, interpolation: str
) -> tuple[ImageArray]:
    height, width = image.shape[1:3]
    factor = min(target_width / width, target_height / height)
    resized = resize_batch(image, int(width * factor), int(height * factor), interpolation)
    shape = (len(image), target_height, target_width, image.shape[3])
    padded = np.full(shape, 0 if padding_color == "black" else 255, np.uint8)
    y, x = (target_height - resized.shape[1]) // 2, (target_width - resized.shape[2]) // 2
    padded[:, y : y + resized.shape[1], x : x + resized.shape[2]] = resized
    return (padded,)


NODES: Mapping[str, NodeFunction] = {
    "ImageScale": scale_image,
    "ImageScaleBy": scale_image_by,
    "ImageScaleToTotalPixels": scale_image_to_total_pixels,
    "ImageScaleToMaxDimension": scale_image_to_max_dimension,
    "ResizeImagesByLongerEdge": resize_by_longer_edge,
    "ResizeImagesByShorterEdge": resize_by_shorter_edge,
    "FluxKontextImageScale": scale_image_for_kontext,
    "ResizeImageMaskNode": resize_image_or_mask,
    "ResizeAndPadImage": resize_and_pad,
}

"""Nodes that make and change masks, and that put pictures together by them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image as Pictures
from PIL import ImageFilter

from comfy_instances.simulator.nodes.call import NodeFunction
from comfy_instances.simulator.nodes.images.images import to_bytes
from comfy_instances.simulator.nodes.images.resizing import check_size, resize
from comfy_instances.simulator.nodes.values import Floats, Image, Mask

_CHANNELS = {"red": 0, "green": 1, "blue": 2, "alpha": 3}


def solid(value: float, width: int, height: int) -> tuple[Mask]:
    check_size(height, width, itemsize=4)
    return (np.full((1, height, width), value, np.float32),)


def invert(mask: Mask) -> tuple[Mask]:
    return (1 - mask,)


def crop(mask: Mask, x: int, y: int, width: int, height: int) -> tuple[Mask]:
    return (mask[:, y : y + height, x : x + width],)


def subject(image: Image, bg_removal_model: object) -> tuple[Mask]:
    """Where something is to be seen: an ellipse in the middle of every picture, with a soft edge."""
    count, height, width, _ = image.shape
    rows, columns = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    distance = np.hypot(rows[:, None], columns[None, :])
    mask = np.clip((0.8 - distance) * 10, 0, 1).astype(np.float32)
    return (np.repeat(mask[None], count, axis=0),)


def threshold(mask: Mask, value: float) -> tuple[Mask]:
    return ((mask > value).astype(np.float32),)


def grow(mask: Mask, expand: int, tapered_corners: bool) -> tuple[Mask]:
    """Grow the white by `expand` pixels; shrink it with a negative number."""
    size = 2 * abs(expand) + 1
    if size == 1:
        return (mask,)
    kernel = ImageFilter.MaxFilter(size) if expand > 0 else ImageFilter.MinFilter(size)
    frames = [Pictures.fromarray(to_bytes(frame)).filter(kernel) for frame in mask]
    return (np.stack([np.asarray(frame, np.float32) / 255 for frame in frames]),)


def feather(mask: Mask, left: int, top: int, right: int, bottom: int) -> tuple[Mask]:
    """Fade the mask out towards its edges."""
    out = mask.copy()
    height, width = mask.shape[1:]
    for i in range(min(left, width)):
        out[:, :, i] *= (i + 1) / left
    for i in range(min(right, width)):
        out[:, :, width - 1 - i] *= (i + 1) / right
    for i in range(min(top, height)):
        out[:, i] *= (i + 1) / top
    for i in range(min(bottom, height)):
        out[:, height - 1 - i] *= (i + 1) / bottom
    return (out,)


def combine(destination: Mask, source: Mask, x: int, y: int, operation: str) -> tuple[Mask]:
    out = destination.copy()
    target = out[:, y : y + source.shape[1], x : x + source.shape[2]]
    part = source[:, : target.shape[1], : target.shape[2]]
    target[...] = _combined(target, part, operation)
    return (np.clip(out, 0, 1),)


def _combined(target: Mask, part: Mask, operation: str) -> Mask:
    white, new = np.round(target) != 0, np.round(part) != 0
    match operation:
        case "multiply":
            return target * part
        case "add":
            return target + part
        case "subtract":
            return target - part
        case "and":
            return np.asarray(white & new, np.float32)
        case "or":
            return np.asarray(white | new, np.float32)
    return np.asarray(white ^ new, np.float32)


def from_image(image: Image, channel: str) -> tuple[Mask]:
    index = _CHANNELS[channel]
    if index >= image.shape[3]:
        return (np.ones(image.shape[:3], np.float32),)
    return (image[..., index].astype(np.float32) / 255,)


def to_image(mask: Mask) -> tuple[Image]:
    return (np.repeat(to_bytes(mask)[..., None], 3, axis=3),)


def from_color(image: Image, color: int) -> tuple[Mask]:
    rgb = np.array([color >> 16 & 0xFF, color >> 8 & 0xFF, color & 0xFF], np.uint8)
    return ((image[..., :3] == rgb).all(axis=-1).astype(np.float32),)


def batch_many(masks: dict[str, Mask]) -> tuple[Mask]:
    first, *others = masks.values()
    height, width = first.shape[1:3]
    return (np.concatenate([first, *(resize(other, width, height, "bilinear") for other in others)]),)


def split_alpha(image: Image) -> tuple[Image, Mask]:
    if image.shape[3] < 4:
        return image, np.zeros(image.shape[:3], np.float32)
    return image[..., :3], 1 - image[..., 3].astype(np.float32) / 255


def join_alpha(image: Image, alpha: Mask) -> tuple[Image]:
    fitted = resize(alpha, image.shape[2], image.shape[1], "bilinear")
    visible = to_bytes(1 - fitted)[np.minimum(np.arange(len(image)), len(fitted) - 1)]
    return (np.concatenate([image[..., :3], visible[..., None]], axis=3),)


def composite(
    destination: Image, source: Image, x: int, y: int, resize_source: bool, mask: Mask | None = None
) -> tuple[Image]:
    if resize_source:
        source = resize(source, destination.shape[2], destination.shape[1], "bilinear")
    out = destination[..., :3].astype(np.float32)
    target = out[:, max(0, y) : y + source.shape[1], max(0, x) : x + source.shape[2]]
    part = source[:, max(0, -y) :, max(0, -x) :, :3][:, : target.shape[1], : target.shape[2]]
    weight: Floats | float = 1.0
    if mask is not None:
        whole = resize(mask, source.shape[2], source.shape[1], "bilinear")
        weight = whole[:, max(0, -y) :, max(0, -x) :][:, : target.shape[1], : target.shape[2], None]
    target[...] = part * weight + target * (1 - weight)
    return (np.clip(out, 0, 255).astype(np.uint8),)


def pad_for_outpaint(
    image: Image, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[Image, Mask]:
    """The picture on a larger grey ground, and the mask of what is new, faded into the old."""
    margins = [(0, 0), (top, bottom), (left, right), (0, 0)]
    padded = np.pad(image, margins, constant_values=127)
    height, width = image.shape[1:3]
    inner = np.zeros((height, width), np.float32)
    if 0 < feathering * 2 < min(height, width):
        inner = _distance_fade(height, width, (left, top, right, bottom), feathering)
    mask = np.pad(inner, [(top, bottom), (left, right)], constant_values=1.0)
    return padded, mask[None]


def _distance_fade(height: int, width: int, grown: tuple[int, int, int, int], reach: int) -> Mask:
    """1 at the edges that grow, falling to 0 at `reach` pixels from them."""
    left, top, right, bottom = grown
    far = max(height, width)
    columns, rows = np.arange(width), np.arange(height)
    across = np.minimum(columns if left else far, columns[::-1] if right else far)
    down = np.minimum(rows if top else far, rows[::-1] if bottom else far)
    distance = np.minimum.outer(np.broadcast_to(down, height), np.broadcast_to(across, width))
    return np.asarray(np.clip((reach - distance) / reach, 0, 1) ** 2, np.float32)


NODES: Mapping[str, NodeFunction] = {
    "SolidMask": solid,
    "InvertMask": invert,
    "RemoveBackground": subject,
    "CropMask": crop,
    "ThresholdMask": threshold,
    "GrowMask": grow,
    "FeatherMask": feather,
    "MaskComposite": combine,
    "ImageToMask": from_image,
    "MaskToImage": to_image,
    "ImageColorToMask": from_color,
    "BatchMasksNode": batch_many,
    "SplitImageWithAlpha": split_alpha,
    "JoinImageWithAlpha": join_alpha,
    "ImageCompositeMasked": composite,
    "ImagePadForOutpaint": pad_for_outpaint,
}

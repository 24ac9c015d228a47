"""Nodes that create and change masks, and that composite images with them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image as PILImage
from PIL import ImageFilter

from comfy_instances.simulator.nodes.call import NodeFunction
from comfy_instances.simulator.nodes.images.images import to_uint8
from comfy_instances.simulator.nodes.images.resizing import check_array_size, resize_batch
from comfy_instances.simulator.nodes.values import FloatArray, ImageArray, MaskArray

_CHANNELS = {"red": 0, "green": 1, "blue": 2, "alpha": 3}


def solid_mask(value: float, width: int, height: int) -> tuple[MaskArray]:
    check_array_size(height, width, itemsize=4)
    return (np.full((1, height, width), value, np.float32),)


def invert_mask(mask: MaskArray) -> tuple[MaskArray]:
    return (1 - mask,)


def crop_mask(mask: MaskArray, x: int, y: int, width: int, height: int) -> tuple[MaskArray]:
    return (mask[:, y : y + height, x : x + width],)


def remove_background(image: ImageArray, bg_removal_model: object) -> tuple[MaskArray]:
    """Return a placeholder foreground mask: a centred ellipse with a soft edge for every image."""
    count, height, width, _ = image.shape
    rows, columns = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    distance = np.hypot(rows[:, None], columns[None, :])
    mask = np.clip((0.8 - distance) * 10, 0, 1).astype(np.float32)
    return (np.repeat(mask[None], count, axis=0),)


def threshold_mask(mask: MaskArray, value: float) -> tuple[MaskArray]:
    return ((mask > value).astype(np.float32),)


def grow_mask(mask: MaskArray, expand: int, tapered_corners: bool) -> tuple[MaskArray]:
    """Grow the white area by `expand` pixels; shrink it if `expand` is negative."""
    size = 2 * abs(expand) + 1
    if size == 1:
        return (mask,)
    kernel = ImageFilter.MaxFilter(size) if expand > 0 else ImageFilter.MinFilter(size)
    frames = [PILImage.fromarray(to_uint8(frame)).filter(kernel) for frame in mask]
    return (np.stack([np.asarray(frame, np.float32) / 255 for frame in frames]),)


def feather_mask(mask: MaskArray, left: int, top: int, right: int, bottom: int) -> tuple[MaskArray]:
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


def combine_masks(
    destination: MaskArray, source: MaskArray, x: int, y: int, operation: str
) -> tuple[MaskArray]:
    out = destination.copy()
    target = out[:, y : y + source.shape[1], x : x + source.shape[2]]
    part = source[:, : target.shape[1], : target.shape[2]]
    target[...] = _apply_mask_operation(target, part, operation)
    return (np.clip(out, 0, 1),)


def _apply_mask_operation(target: MaskArray, part: MaskArray, operation: str) -> MaskArray:
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


def mask_from_image(image: ImageArray, channel: str) -> tuple[MaskArray]:
    index = _CHANNELS[channel]
    if index >= image.shape[3]:
        return (np.ones(image.shape[:3], np.float32),)
    return (image[..., index].astype(np.float32) / 255,)


def mask_to_image(mask: MaskArray) -> tuple[ImageArray]:
    return (np.repeat(to_uint8(mask)[..., None], 3, axis=3),)


def mask_from_color(image: ImageArray, color: int) -> tuple[MaskArray]:
    rgb = np.array([color >> 16 & 0xFF, color >> 8 & 0xFF, color & 0xFF], np.uint8)
    return ((image[..., :3] == rgb).all(axis=-1).astype(np.float32),)


def batch_masks(masks: dict[str, MaskArray]) -> tuple[MaskArray]:
    first, *others = masks.values()
    height, width = first.shape[1:3]
    return (np.concatenate([first, *(resize_batch(other, width, height, "bilinear") for other in others)]),)


def split_image_alpha(image: ImageArray) -> tuple[ImageArray, MaskArray]:
    if image.shape[3] < 4:
        return image, np.zeros(image.shape[:3], np.float32)
    return image[..., :3], 1 - image[..., 3].astype(np.float32) / 255


def join_image_alpha(image: ImageArray, alpha: MaskArray) -> tuple[ImageArray]:
    fitted = resize_batch(alpha, image.shape[2], image.shape[1], "bilinear")
    visible = to_uint8(1 - fitted)[np.minimum(np.arange(len(image)), len(fitted) - 1)]
    return (np.concatenate([image[..., :3], visible[..., None]], axis=3),)


def composite_images_masked(
    destination: ImageArray,
    source: ImageArray,
    x: int,
    y: int,
    resize_source: bool,
    mask: MaskArray | None = None,
) -> tuple[ImageArray]:
    if resize_source:
        source = resize_batch(source, destination.shape[2], destination.shape[1], "bilinear")
    # As ComfyUI: the source, and the mask, are repeated or cut to the number of destination images.
    source = source[np.arange(len(destination)) % len(source)]
    out = destination[..., :3].astype(np.float32)
    target = out[:, max(0, y) : y + source.shape[1], max(0, x) : x + source.shape[2]]
    part = source[:, max(0, -y) :, max(0, -x) :, :3][:, : target.shape[1], : target.shape[2]]
    weight: FloatArray | float = 1.0
    if mask is not None:
        mask = mask[np.arange(len(destination)) % len(mask)]
        whole = resize_batch(mask, source.shape[2], source.shape[1], "bilinear")
        weight = whole[:, max(0, -y) :, max(0, -x) :][:, : target.shape[1], : target.shape[2], None]
    target[...] = part * weight + target * (1 - weight)
    return (np.clip(out, 0, 255).astype(np.uint8),)


def pad_image_for_outpaint(
    image: ImageArray, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[ImageArray, MaskArray]:
    """Pad the image with grey, and return a mask of the new area, feathered into the original."""
    margins = [(0, 0), (top, bottom), (left, right), (0, 0)]
    padded = np.pad(image, margins, constant_values=127)
    height, width = image.shape[1:3]
    inner = np.zeros((height, width), np.float32)
    if 0 < feathering * 2 < min(height, width):
        inner = _feather_margins(height, width, (left, top, right, bottom), feathering)
    mask = np.pad(inner, [(top, bottom), (left, right)], constant_values=1.0)
    return padded, mask[None]


def _feather_margins(
    height: int, width: int, margins: tuple[int, int, int, int], feathering: int
) -> MaskArray:
    """Return a mask that falls from 1 at the padded edges to 0 at `feathering` pixels from them."""
    left, top, right, bottom = margins
    far = max(height, width)
    columns, rows = np.arange(width), np.arange(height)
    across = np.minimum(columns if left else far, columns[::-1] if right else far)
    down = np.minimum(rows if top else far, rows[::-1] if bottom else far)
    distance = np.minimum.outer(np.broadcast_to(down, height), np.broadcast_to(across, width))
    return np.asarray(np.clip((feathering - distance) / feathering, 0, 1) ** 2, np.float32)


NODES: Mapping[str, NodeFunction] = {
    "SolidMask": solid_mask,
    "InvertMask": invert_mask,
    "RemoveBackground": remove_background,
    "CropMask": crop_mask,
    "ThresholdMask": threshold_mask,
    "GrowMask": grow_mask,
    "FeatherMask": feather_mask,
    "MaskComposite": combine_masks,
    "ImageToMask": mask_from_image,
    "MaskToImage": mask_to_image,
    "ImageColorToMask": mask_from_color,
    "BatchMasksNode": batch_masks,
    "SplitImageWithAlpha": split_image_alpha,
    "JoinImageWithAlpha": join_image_alpha,
    "ImageCompositeMasked": composite_images_masked,
    "ImagePadForOutpaint": pad_image_for_outpaint,
}

"""Resize and crop images, masks and latents."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from comfy_instances.simulator.execution.device import OutOfMemoryError
from comfy_instances.simulator.nodes.images.frame_memory import allocate_frames

Resampling = PILImage.Resampling
_RESAMPLING_METHODS = {
    "nearest-exact": Resampling.NEAREST,
    "bilinear": Resampling.BILINEAR,
    "area": Resampling.BOX,
    "bicubic": Resampling.BICUBIC,
    "bislerp": Resampling.BICUBIC,
    "lanczos": Resampling.LANCZOS,
}
#: Maximum size of an array in memory, in bytes; several simulators share the memory of one machine.
MAX_ARRAY_BYTES = 768 * 1024**2


def check_array_size(*shape: int, itemsize: int = 1) -> None:
    """Check the size of an array. Raises OutOfMemoryError if it exceeds MAX_ARRAY_BYTES."""
    size = itemsize * int(np.prod(shape, dtype=np.float64))
    if size > MAX_ARRAY_BYTES:
        raise OutOfMemoryError(f"not enough memory: tried to allocate {size} bytes")


def resize_batch(batch: NDArray[Any], width: int, height: int, method: str = "area") -> NDArray[Any]:
    """Resize [batch, height, width(, channels)] of uint8 or float32 to `width` x `height`."""
    if batch.shape[1:3] == (height, width):
        return batch
    if batch.dtype == np.uint8:
        check_array_size(height, width, *batch.shape[3:])
        frames = allocate_frames(len(batch), height, width, *batch.shape[3:])
        for place, frame in zip(frames, batch, strict=True):
            place[...] = _resize_uint8(frame, width, height, method)
        return frames
    check_array_size(len(batch), height, width, *batch.shape[3:], itemsize=batch.itemsize)
    planes = batch[..., None] if batch.ndim == 3 else batch
    out = np.stack([_resize_float32(frame, width, height, method) for frame in planes])
    return out[..., 0] if batch.ndim == 3 else out


def resize_planes(planes: NDArray[Any], width: int, height: int, method: str = "area") -> NDArray[np.float32]:
    """Resize [..., height, width] of float32 to `width` x `height`."""
    flat = planes.reshape(-1, *planes.shape[-2:], 1).astype(np.float32, copy=False)
    return resize_batch(flat, width, height, method).reshape(*planes.shape[:-2], height, width)


def crop_to_aspect(batch: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Crop [batch, height, width, ...] around its centre to the aspect ratio of `width` to `height`."""
    old_height, old_width = batch.shape[1:3]
    x = y = 0
    if old_width * height > width * old_height:
        x = round((old_width - old_height * width / height) / 2)
    else:
        y = round((old_height - old_width * height / width) / 2)
    return batch[:, y : old_height - y, x : old_width - x]


def scale_to_fit(
    batch: NDArray[Any], width: int, height: int, method: str = "area", crop: str = "disabled"
) -> NDArray[Any]:
    """Resize as the scaling nodes do: a side of 0 keeps the aspect ratio; two sides of 0 change nothing."""
    old_height, old_width = batch.shape[1:3]
    if width == 0 and height == 0:
        return batch
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    source = crop_to_aspect(batch, width, height) if crop == "center" else batch
    return resize_batch(source, width, height, method)


def _resize_uint8(frame: NDArray[Any], width: int, height: int, method: str) -> NDArray[np.uint8]:
    resized = PILImage.fromarray(np.ascontiguousarray(frame)).resize(
        (width, height), _RESAMPLING_METHODS[method]
    )
    return np.asarray(resized)


def _resize_float32(frame: NDArray[Any], width: int, height: int, method: str) -> NDArray[np.float32]:
    """Resize [height, width, channels] as float32."""
    planes = [
        np.asarray(
            PILImage.fromarray(np.ascontiguousarray(plane)).resize(
                (width, height), _RESAMPLING_METHODS[method]
            )
        )
        for plane in np.moveaxis(frame, -1, 0)
    ]
    return np.stack(planes, axis=-1)

"""Nodes that change latents, and conversion between images and latents.

The placeholder for a VAE stores the colours of an image at the latent's resolution and interpolates
them on decoding: the result is a blurred image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from comfy_instances.simulator.nodes.call import NodeFunction
from comfy_instances.simulator.nodes.images.frame_memory import check_frames_size
from comfy_instances.simulator.nodes.images.images import to_uint8
from comfy_instances.simulator.nodes.images.resizing import (
    check_array_size,
    crop_to_aspect,
    resize_batch,
    resize_planes,
)
from comfy_instances.simulator.nodes.values import FloatArray, ImageArray, Latent, MaskArray


class LatentGeometry(NamedTuple):
    """How a family of models maps pixels and frames to latent positions."""

    spatial: int = 8
    temporal: int = 1
    channels: int = 4


#: Part of the name of a VAE, checkpoint or node class, in lower case -> its geometry; first match counts.
KNOWN_GEOMETRIES = (
    ("pixel_space", LatentGeometry(1, 1, 3)),
    ("ltx", LatentGeometry(32, 8, 128)),
    ("flux2", LatentGeometry(16, 1, 128)),
    ("wan22", LatentGeometry(16, 4, 48)),
    ("wan2.2_vae", LatentGeometry(16, 4, 48)),
    ("wan", LatentGeometry(8, 4, 16)),
    ("qwen", LatentGeometry(8, 4, 16)),
    ("hunyuanvideo15", LatentGeometry(16, 4, 32)),
    ("hunyuanimage", LatentGeometry(32, 1, 64)),
    ("hunyuan", LatentGeometry(8, 4, 16)),
    ("cogvideo", LatentGeometry(8, 4, 16)),
    ("cosmos", LatentGeometry(8, 8, 16)),
    ("mochi", LatentGeometry(8, 6, 12)),
    ("chromaradiance", LatentGeometry(1, 1, 3)),
    ("sd3", LatentGeometry(8, 1, 16)),
    ("flux", LatentGeometry(8, 1, 16)),
    ("ae.safetensors", LatentGeometry(8, 1, 16)),
)


def find_latent_geometry(model_name: str) -> LatentGeometry:
    """Return the geometry of the family that `model_name` belongs to; Stable Diffusion's if unknown."""
    lower = model_name.lower()
    return next((found for part, found in KNOWN_GEOMETRIES if part in lower), LatentGeometry())


def empty_latent(
    width: int, height: int, length: int | None, batch_size: int = 1, fold: LatentGeometry | None = None
) -> Latent:
    """Return a latent of zeros for images of that size in pixels, or for videos of `length` frames."""
    fold = fold or LatentGeometry()
    shape: tuple[int, ...] = (height // fold.spatial, width // fold.spatial)
    if length is not None:
        shape = ((length - 1) // fold.temporal + 1, *shape)
    check_array_size(batch_size, fold.channels, *shape, itemsize=4)
    samples = np.zeros((batch_size, fold.channels, *shape), np.float32)
    return Latent(samples=samples, spatial=fold.spatial, temporal=fold.temporal)


def encode_images(pixels: ImageArray, fold: LatentGeometry) -> Latent:
    """Encode each image as one latent; with a temporal factor, encode all images as one video."""
    height, width = (max(1, side // fold.spatial) for side in pixels.shape[1:3])
    small = resize_batch(pixels[..., :3], width, height).astype(np.float32) / 127.5 - 1
    colours = np.moveaxis(small, -1, 1)
    if fold.temporal > 1:
        colours = np.moveaxis(colours[:: fold.temporal], 0, 1)[None]
    rest = np.zeros((colours.shape[0], fold.channels - 3, *colours.shape[2:]), np.float32)
    samples = np.concatenate([colours, rest], axis=1)
    return Latent(samples=samples, spatial=fold.spatial, temporal=fold.temporal)


def decode_latent(latent: Latent) -> ImageArray:
    """Decode a latent to images, or to all frames of its videos in sequence."""
    frames = to_rgb(latent)
    if latent.is_video:
        frames = np.concatenate([_interpolate_frames(video, latent.temporal) for video in frames])
    height, width = (side * latent.spatial for side in frames.shape[-3:-1])
    check_frames_size(len(frames), height, width, 3)
    return resize_batch(to_uint8((frames + 1) / 2), width, height, "bilinear")


def to_rgb(latent: Latent) -> FloatArray:
    """Convert a latent to [batch, (frames,) height, width, 3] in -1..1."""
    planes = latent.samples[:, :3]
    return np.moveaxis(np.repeat(planes, 3, axis=1) if planes.shape[1] < 3 else planes, 1, -1)


def _interpolate_frames(video: FloatArray, temporal: int) -> FloatArray:
    """Interpolate [latent frames, ...] to [(latent frames - 1) * temporal + 1, ...]."""
    places = np.arange((len(video) - 1) * temporal + 1) / temporal
    before = places.astype(int)
    after = np.minimum(before + 1, len(video) - 1)
    share = (places - before).astype(np.float32).reshape(-1, 1, 1, 1)
    return np.asarray(video[before] * (1 - share) + video[after] * share, np.float32)


def resize_to_match(latent: Latent, like: Latent) -> NDArray[np.float32]:
    """Resize the samples of `latent` to the size of `like`."""
    height, width = like.samples.shape[-2:]
    return resize_planes(latent.samples, width, height, "bilinear")


def upscale_latent(samples: Latent, upscale_method: str, width: int, height: int, crop: str) -> tuple[Latent]:
    old_height, old_width = samples.samples.shape[-2:]
    if width == 0 and height == 0:
        return (samples,)
    columns, rows = (max(64, side) // samples.spatial if side else 0 for side in (width, height))
    columns = columns or max(1, round(old_width * rows / old_height))
    rows = rows or max(1, round(old_height * columns / old_width))
    source = samples
    if crop == "center":
        planes = samples.samples.reshape(-1, old_height, old_width)
        cut = crop_to_aspect(planes, columns, rows)
        source = samples.with_samples(cut.reshape(*samples.samples.shape[:-2], *cut.shape[1:]))
    return (_resize_latent(source, columns, rows, upscale_method),)


def upscale_latent_by(samples: Latent, upscale_method: str, scale_by: float) -> tuple[Latent]:
    height, width = samples.samples.shape[-2:]
    return (_resize_latent(samples, round(width * scale_by), round(height * scale_by), upscale_method),)


def _resize_latent(latent: Latent, width: int, height: int, method: str) -> Latent:
    return latent.with_samples(resize_planes(latent.samples, width, height, method))


def flip_latent(samples: Latent, flip_method: str) -> tuple[Latent]:
    axis = -2 if flip_method.startswith("x") else -1
    return (samples.with_samples(np.flip(samples.samples, axis=axis)),)


def rotate_latent(samples: Latent, rotation: str) -> tuple[Latent]:
    turns = int(rotation.split()[0]) // 90 if rotation != "none" else 0
    return (samples.with_samples(np.rot90(samples.samples, k=turns, axes=(-1, -2))),)


def crop_latent(samples: Latent, width: int, height: int, x: int, y: int) -> tuple[Latent]:
    x, y, width, height = (side // samples.spatial for side in (x, y, width, height))
    rows, columns = samples.samples.shape[-2:]
    x, y = min(x, max(0, columns - 8)), min(y, max(0, rows - 8))
    return (samples.with_samples(samples.samples[..., y : y + height, x : x + width]),)


def composite_latents_masked(
    destination: Latent, source: Latent, x: int, y: int, resize_source: bool, mask: MaskArray | None = None
) -> tuple[Latent]:
    x, y = x // destination.spatial, y // destination.spatial
    out = destination.samples.copy()
    part = resize_to_match(source, destination) if resize_source else source.samples
    target = out[..., y : y + part.shape[-2], x : x + part.shape[-1]]
    part = part[..., : target.shape[-2], : target.shape[-1]]
    weight = 1.0 if mask is None else resize_batch(mask[:1], part.shape[-1], part.shape[-2], "bilinear")
    target[...] = part * weight + target * (1 - weight)
    return (destination.with_samples(out),)


def composite_latents(
    samples_to: Latent, samples_from: Latent, x: int, y: int, feather: int
) -> tuple[Latent]:
    return composite_latents_masked(samples_to, samples_from, x, y, resize_source=False)


def blend_latents(samples1: Latent, samples2: Latent, blend_factor: float) -> tuple[Latent]:
    other = resize_to_match(samples2, samples1)
    return (samples1.with_samples(samples1.samples * blend_factor + other * (1 - blend_factor)),)


def add_latents(samples1: Latent, samples2: Latent) -> tuple[Latent]:
    return (samples1.with_samples(samples1.samples + resize_to_match(samples2, samples1)),)


def subtract_latents(samples1: Latent, samples2: Latent) -> tuple[Latent]:
    return (samples1.with_samples(samples1.samples - resize_to_match(samples2, samples1)),)


def multiply_latent(samples: Latent, multiplier: float) -> tuple[Latent]:
    return (samples.with_samples(samples.samples * multiplier),)


def interpolate_latents(samples1: Latent, samples2: Latent, ratio: float) -> tuple[Latent]:
    return blend_latents(samples1, samples2, ratio)


def batch_two_latents(samples1: Latent, samples2: Latent) -> tuple[Latent]:
    return (samples1.with_samples(np.concatenate([samples1.samples, resize_to_match(samples2, samples1)])),)


def batch_latents(latents: dict[str, Latent]) -> tuple[Latent]:
    first, *others = latents.values()
    return (
        first.with_samples(
            np.concatenate([first.samples, *(resize_to_match(other, first) for other in others)])
        ),
    )


def repeat_latent(samples: Latent, amount: int) -> tuple[Latent]:
    check_array_size(amount, *samples.samples.shape, itemsize=4)
    return (samples.with_samples(np.concatenate([samples.samples] * amount)),)


def latent_from_batch(samples: Latent, batch_index: int, length: int) -> tuple[Latent]:
    index = min(len(samples.samples) - 1, batch_index)
    return (samples.with_samples(samples.samples[index : index + length]),)


def set_latent_noise_mask(samples: Latent, mask: MaskArray) -> tuple[Latent]:
    return (replace(samples, noise_mask=mask),)


def trim_video_latent(samples: Latent, trim_amount: int) -> tuple[Latent]:
    return (samples.with_samples(samples.samples[:, :, trim_amount:]),)


def concatenate_av_latent(video_latent: Latent, audio_latent: Latent) -> tuple[Latent]:
    return (replace(video_latent, audio=audio_latent),)


def separate_av_latent(av_latent: Latent) -> tuple[Latent, Latent | None]:
    return replace(av_latent, audio=None), av_latent.audio


def upsample_latent(samples: Latent, **_: Any) -> tuple[Latent]:
    """Double width and height, as a latent upscale model does."""
    height, width = samples.samples.shape[-2:]
    return (_resize_latent(samples, width * 2, height * 2, "bicubic"),)


NODES: Mapping[str, NodeFunction] = {
    "LatentUpscale": upscale_latent,
    "LatentUpscaleBy": upscale_latent_by,
    "LatentFlip": flip_latent,
    "LatentRotate": rotate_latent,
    "LatentCrop": crop_latent,
    "LatentComposite": composite_latents,
    "LatentCompositeMasked": composite_latents_masked,
    "LatentBlend": blend_latents,
    "LatentInterpolate": interpolate_latents,
    "LatentAdd": add_latents,
    "LatentSubtract": subtract_latents,
    "LatentMultiply": multiply_latent,
    "LatentBatch": batch_two_latents,
    "BatchLatentsNode": batch_latents,
    "RepeatLatentBatch": repeat_latent,
    "LatentFromBatch": latent_from_batch,
    "SetLatentNoiseMask": set_latent_noise_mask,
    "TrimVideoLatent": trim_video_latent,
    "LTXVConcatAVLatent": concatenate_av_latent,
    "LTXVSeparateAVLatent": separate_av_latent,
    "LTXVLatentUpsampler": upsample_latent,
}

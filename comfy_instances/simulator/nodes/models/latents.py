"""Nodes that change latents, and the way from pictures to latents and back.

A stand-in for a VAE keeps the colours of a picture at the latent's resolution, and smooths them out
again: what comes back is the picture, blurred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from comfy_instances.simulator.nodes.call import NodeFunction
from comfy_instances.simulator.nodes.images.images import to_bytes
from comfy_instances.simulator.nodes.images.resizing import check_size, crop_to_aspect, resize, resize_planes
from comfy_instances.simulator.nodes.values import Floats, Image, Latent, Mask


class Geometry(NamedTuple):
    """How a family of models folds pictures."""

    spatial: int = 8
    temporal: int = 1
    channels: int = 4


#: Part of the name of a VAE, checkpoint or node class, in lower case -> its geometry; first match counts.
GEOMETRIES = (
    ("pixel_space", Geometry(1, 1, 3)),
    ("ltx", Geometry(32, 8, 128)),
    ("flux2", Geometry(16, 1, 128)),
    ("wan22", Geometry(16, 4, 48)),
    ("wan2.2_vae", Geometry(16, 4, 48)),
    ("wan", Geometry(8, 4, 16)),
    ("qwen", Geometry(8, 4, 16)),
    ("hunyuanvideo15", Geometry(16, 4, 32)),
    ("hunyuanimage", Geometry(32, 1, 64)),
    ("hunyuan", Geometry(8, 4, 16)),
    ("cogvideo", Geometry(8, 4, 16)),
    ("cosmos", Geometry(8, 8, 16)),
    ("mochi", Geometry(8, 6, 12)),
    ("chromaradiance", Geometry(1, 1, 3)),
    ("sd3", Geometry(8, 1, 16)),
    ("flux", Geometry(8, 1, 16)),
    ("ae.safetensors", Geometry(8, 1, 16)),
)


def geometry(name: str) -> Geometry:
    """Of the family that `name` belongs to; Stable Diffusion's where it says nothing."""
    lower = name.lower()
    return next((found for part, found in GEOMETRIES if part in lower), Geometry())


def empty(
    width: int, height: int, length: int | None, batch_size: int = 1, fold: Geometry | None = None
) -> Latent:
    """Zeros for pictures of that size, or for videos of `length` frames. Sizes in pixels."""
    fold = fold or Geometry()
    shape: tuple[int, ...] = (height // fold.spatial, width // fold.spatial)
    if length is not None:
        shape = ((length - 1) // fold.temporal + 1, *shape)
    check_size(batch_size, fold.channels, *shape, itemsize=4)
    samples = np.zeros((batch_size, fold.channels, *shape), np.float32)
    return Latent(samples=samples, spatial=fold.spatial, temporal=fold.temporal)


def encode(pixels: Image, fold: Geometry) -> Latent:
    """One latent per picture; with a folding in time all pictures together are one video."""
    height, width = (max(1, side // fold.spatial) for side in pixels.shape[1:3])
    small = resize(pixels[..., :3], width, height).astype(np.float32) / 127.5 - 1
    colours = np.moveaxis(small, -1, 1)
    if fold.temporal > 1:
        colours = np.moveaxis(colours[:: fold.temporal], 0, 1)[None]
    rest = np.zeros((colours.shape[0], fold.channels - 3, *colours.shape[2:]), np.float32)
    samples = np.concatenate([colours, rest], axis=1)
    return Latent(samples=samples, spatial=fold.spatial, temporal=fold.temporal)


def decode(latent: Latent) -> Image:
    """Pictures, or all frames of the videos one after the other."""
    frames = colours(latent)
    if latent.is_video:
        frames = np.concatenate([_in_time(video, latent.temporal) for video in frames])
    height, width = (side * latent.spatial for side in frames.shape[-3:-1])
    check_size(len(frames), height, width, 3)
    return resize(to_bytes((frames + 1) / 2), width, height, "bicubic")


def colours(latent: Latent) -> Floats:
    """[batch, (frames,) height, width, 3] in -1..1."""
    planes = latent.samples[:, :3]
    return np.moveaxis(np.repeat(planes, 3, axis=1) if planes.shape[1] < 3 else planes, 1, -1)


def _in_time(video: Floats, temporal: int) -> Floats:
    """[latent frames, ...] -> [(latent frames - 1) * temporal + 1, ...], blended between neighbours."""
    places = np.arange((len(video) - 1) * temporal + 1) / temporal
    before = places.astype(int)
    after = np.minimum(before + 1, len(video) - 1)
    share = (places - before).astype(np.float32).reshape(-1, 1, 1, 1)
    return np.asarray(video[before] * (1 - share) + video[after] * share, np.float32)


def fit(latent: Latent, like: Latent) -> NDArray[np.float32]:
    """The samples of `latent` in the size of `like`."""
    height, width = like.samples.shape[-2:]
    return resize_planes(latent.samples, width, height, "bilinear")


def upscale(samples: Latent, upscale_method: str, width: int, height: int, crop: str) -> tuple[Latent]:
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
    return (_resized(source, columns, rows, upscale_method),)


def upscale_by(samples: Latent, upscale_method: str, scale_by: float) -> tuple[Latent]:
    height, width = samples.samples.shape[-2:]
    return (_resized(samples, round(width * scale_by), round(height * scale_by), upscale_method),)


def _resized(latent: Latent, width: int, height: int, method: str) -> Latent:
    return latent.with_samples(resize_planes(latent.samples, width, height, method))


def flip(samples: Latent, flip_method: str) -> tuple[Latent]:
    axis = -2 if flip_method.startswith("x") else -1
    return (samples.with_samples(np.flip(samples.samples, axis=axis)),)


def rotate(samples: Latent, rotation: str) -> tuple[Latent]:
    turns = int(rotation.split()[0]) // 90 if rotation != "none" else 0
    return (samples.with_samples(np.rot90(samples.samples, k=turns, axes=(-1, -2))),)


def crop(samples: Latent, width: int, height: int, x: int, y: int) -> tuple[Latent]:
    x, y, width, height = (side // samples.spatial for side in (x, y, width, height))
    rows, columns = samples.samples.shape[-2:]
    x, y = min(x, max(0, columns - 8)), min(y, max(0, rows - 8))
    return (samples.with_samples(samples.samples[..., y : y + height, x : x + width]),)


def paste(
    destination: Latent, source: Latent, x: int, y: int, resize_source: bool, mask: Mask | None = None
) -> tuple[Latent]:
    x, y = x // destination.spatial, y // destination.spatial
    out = destination.samples.copy()
    part = fit(source, destination) if resize_source else source.samples
    target = out[..., y : y + part.shape[-2], x : x + part.shape[-1]]
    part = part[..., : target.shape[-2], : target.shape[-1]]
    weight = 1.0 if mask is None else resize(mask[:1], part.shape[-1], part.shape[-2], "bilinear")
    target[...] = part * weight + target * (1 - weight)
    return (destination.with_samples(out),)


def composite(samples_to: Latent, samples_from: Latent, x: int, y: int, feather: int) -> tuple[Latent]:
    return paste(samples_to, samples_from, x, y, resize_source=False)


def blend(samples1: Latent, samples2: Latent, blend_factor: float) -> tuple[Latent]:
    other = fit(samples2, samples1)
    return (samples1.with_samples(samples1.samples * blend_factor + other * (1 - blend_factor)),)


def add(samples1: Latent, samples2: Latent) -> tuple[Latent]:
    return (samples1.with_samples(samples1.samples + fit(samples2, samples1)),)


def subtract(samples1: Latent, samples2: Latent) -> tuple[Latent]:
    return (samples1.with_samples(samples1.samples - fit(samples2, samples1)),)


def multiply(samples: Latent, multiplier: float) -> tuple[Latent]:
    return (samples.with_samples(samples.samples * multiplier),)


def interpolate(samples1: Latent, samples2: Latent, ratio: float) -> tuple[Latent]:
    return blend(samples1, samples2, ratio)


def batch(samples1: Latent, samples2: Latent) -> tuple[Latent]:
    return (samples1.with_samples(np.concatenate([samples1.samples, fit(samples2, samples1)])),)


def batch_many(latents: dict[str, Latent]) -> tuple[Latent]:
    first, *others = latents.values()
    return (first.with_samples(np.concatenate([first.samples, *(fit(other, first) for other in others)])),)


def repeat(samples: Latent, amount: int) -> tuple[Latent]:
    check_size(amount, *samples.samples.shape, itemsize=4)
    return (samples.with_samples(np.concatenate([samples.samples] * amount)),)


def from_batch(samples: Latent, batch_index: int, length: int) -> tuple[Latent]:
    index = min(len(samples.samples) - 1, batch_index)
    return (samples.with_samples(samples.samples[index : index + length]),)


def set_noise_mask(samples: Latent, mask: Mask) -> tuple[Latent]:
    return (replace(samples, noise_mask=mask),)


def trim(samples: Latent, trim_amount: int) -> tuple[Latent]:
    return (samples.with_samples(samples.samples[:, :, trim_amount:]),)


def with_audio(video_latent: Latent, audio_latent: Latent) -> tuple[Latent]:
    return (replace(video_latent, audio=audio_latent),)


def without_audio(av_latent: Latent) -> tuple[Latent, Latent | None]:
    return replace(av_latent, audio=None), av_latent.audio


def double(samples: Latent, **_: Any) -> tuple[Latent]:
    """What a latent upscale model does: both sides twice as long."""
    height, width = samples.samples.shape[-2:]
    return (_resized(samples, width * 2, height * 2, "bicubic"),)


NODES: Mapping[str, NodeFunction] = {
    "LatentUpscale": upscale,
    "LatentUpscaleBy": upscale_by,
    "LatentFlip": flip,
    "LatentRotate": rotate,
    "LatentCrop": crop,
    "LatentComposite": composite,
    "LatentCompositeMasked": paste,
    "LatentBlend": blend,
    "LatentInterpolate": interpolate,
    "LatentAdd": add,
    "LatentSubtract": subtract,
    "LatentMultiply": multiply,
    "LatentBatch": batch,
    "BatchLatentsNode": batch_many,
    "RepeatLatentBatch": repeat,
    "LatentFromBatch": from_batch,
    "SetLatentNoiseMask": set_noise_mask,
    "TrimVideoLatent": trim,
    "LTXVConcatAVLatent": with_audio,
    "LTXVSeparateAVLatent": without_audio,
    "LTXVLatentUpsampler": double,
}

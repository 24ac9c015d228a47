"""The types of the values that the links of a graph carry.

IMAGE is uint8 [batch, height, width, 3 or 4], MASK float32 [batch, height, width] in 0..1, SIGMAS
float32 [steps + 1]; INT, FLOAT, STRING and BOOLEAN are themselves. The rest are the classes here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comfy_instances.simulator.execution.weights import SimulatedWeightFile

ImageArray = NDArray[np.uint8]
FloatArray = NDArray[np.floating[Any]]
MaskArray = FloatArray


@dataclass(frozen=True, slots=True)
class AudioClip:
    """AUDIO: float32 [batch, channels, samples] in -1..1."""

    waveform: FloatArray
    #: Samples per second.
    sample_rate: int


@dataclass(frozen=True, slots=True)
class VideoClip:
    frames: ImageArray
    #: Frames per second.
    frame_rate: Fraction
    audio: AudioClip | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Latent:
    """float32 [batch, channels, height, width], for videos [batch, channels, frames, height, width].

    The first three channels are red, green and blue in -1..1, so that a latent can be displayed.
    """

    samples: FloatArray
    #: Pixels per latent position, in each direction.
    spatial: int = 8
    #: Frames per latent frame; the first latent frame represents one frame.
    temporal: int = 1
    #: 1 where a sampler changes the latent, 0 where it does not.
    noise_mask: MaskArray | None = None
    #: The audio part of a latent for video with audio.
    audio: Latent | None = None

    def with_samples(self, samples: NDArray[Any]) -> Latent:
        return replace(self, samples=np.ascontiguousarray(samples, dtype=np.float32))

    @property
    def is_video(self) -> bool:
        return self.samples.ndim == 5

    @property
    def positions(self) -> int:
        """Return the number of latent positions in the batch, the unit of memory and time estimates."""
        return int(self.samples.size) // int(self.samples.shape[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class OpaqueValue:
    """A model, conditioning, guider, ...: holds only its identity and what it depends on."""

    type: str
    #: Digest of all inputs that it was computed from.
    fingerprint: str
    #: Weight files that must be in GPU memory to use it.
    weights: tuple[SimulatedWeightFile, ...] = ()
    #: A small image ([3, height, width] in -1..1) that it was derived from: a start or reference image.
    reference_image: FloatArray | None = None
    #: Literal inputs of the node that created it, and of the nodes that it passed through.
    settings: Mapping[str, Any]


def fingerprint(value: Any) -> str:
    """Return a digest that is the same for equal values in every process."""
    if isinstance(value, OpaqueValue):
        return value.fingerprint
    digest = hashlib.blake2b(type(value).__name__.encode(), digest_size=16)
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif isinstance(value, Mapping):
        digest.update("".join(f"{key}={fingerprint(value[key])};" for key in sorted(value)).encode())
    elif isinstance(value, list | tuple):
        digest.update("".join(map(fingerprint, value)).encode())
    elif is_dataclass(value) and not isinstance(value, type):
        digest.update("".join(fingerprint(getattr(value, f.name)) for f in fields(value)).encode())
    else:
        digest.update(json.dumps(value, default=str).encode())
    return digest.hexdigest()

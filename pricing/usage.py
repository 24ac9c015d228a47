"""Billable work of a request: the quantities that prices are calculated from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction


class ModelKind(StrEnum):
    """The kind of a model."""

    IMAGE = "image"
    VIDEO = "video"
    I2V = "i2v"  #: image to video
    UPSCALE = "upscale"
    AUDIO = "audio"  #: text to sound
    MESH = "3d"  #: image to 3D model
    TEXT = "text"  #: text or images to text
    TRAINER = "trainer"  #: dataset to weights


@dataclass(frozen=True, kw_only=True, slots=True)
class BillableWork:
    """The billable quantities of one request."""

    #: Row of the price list: a model's id, or the price class that its manifest names.
    model: str
    kind: ModelKind
    #: Number of outputs.
    n: int = 1
    #: Pixels of one output; for an upscaler, of the enlarged image.
    width: int = 1024
    height: int = 1024
    #: Frames of a video and frames per second; ignored for images.
    frames: int = 1
    fps: float = 16.0
    #: Training steps.
    steps: int = 1

    def __post_init__(self) -> None:
        if min(self.n, self.width, self.height, self.frames, self.steps) < 1 or not self.fps > 0:
            raise ValueError(f"n, width, height, frames, fps and steps must be positive: {self}")

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def seconds(self) -> Fraction:
        """Return the length of a video in seconds."""
        return Fraction(self.frames) / Fraction(self.fps)

"""What tests want to know of a film."""

from __future__ import annotations

import io
from dataclasses import dataclass

import av


@dataclass(frozen=True)
class VideoInfo:
    width: int
    height: int
    frames: int
    fps: float
    codec: str


def film(data: bytes) -> VideoInfo:
    """Decodes every frame. Raises for anything that is not a playable film."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        rate = stream.average_rate
        assert rate is not None
        return VideoInfo(stream.width, stream.height, frames, float(rate), stream.codec_context.name)

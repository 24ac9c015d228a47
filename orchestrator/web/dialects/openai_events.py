"""The live events of OpenAI's images API, as its SDKs know them: unfinished pictures, then finished ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from orchestrator.jobs import Job, Output
from orchestrator.web.dialects.openai import ImageBody, look, told_quality

#: First word of the events' types.
Topic = Literal["image_generation", "image_edit"]


@dataclass(slots=True)
class Partials:
    """Which of a sampler's pictures are shown, so that `wanted` of them lie evenly over the run."""

    wanted: int
    #: Share of the steps done, and pictures shown, by shard.
    _done: dict[int, float] = field(default_factory=dict)
    _shown: dict[int, int] = field(default_factory=dict)

    def progress(self, shard: int, share: float) -> None:
        self._done[shard] = share

    def take(self, shard: int) -> int | None:
        """The number of this picture of a shard, from 0 on; None: it is not to be shown."""
        shown = self._shown.get(shard, 0)
        if shown >= self.wanted or self._done.get(shard, 0.0) < (shown + 1) / (self.wanted + 1):
            return None
        self._shown[shard] = shown + 1
        return shown


def partial_event(
    topic: Topic, body: ImageBody, job: Job, place: tuple[int, int], now: datetime
) -> dict[str, Any]:
    """An unfinished picture, without its data; `place` is the shard's index and the picture's number."""
    width, height = job.params.get("width"), job.params.get("height")
    shard, number = place
    return {
        "type": f"{topic}.partial_image",
        "created_at": int(now.timestamp()),
        "partial_image_index": number,
        "image_index": shard,
        "background": body.background or "auto",
        "output_format": body.output_format or "png",
        "quality": told_quality(body),
        "size": f"{width}x{height}" if width and height else "auto",
    }


def completed_event(
    topic: Topic, body: ImageBody, output: Output, index: int, usage: dict[str, Any]
) -> dict[str, Any]:
    """A finished picture, without its data and time."""
    return {"type": f"{topic}.completed", "image_index": index, **look(body, [output]), "usage": usage}

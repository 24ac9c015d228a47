"""The live events of OpenAI's images API, as its SDKs know them: unfinished pictures, then finished ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from orchestrator.jobs import Job, Output
from orchestrator.web.dialects.openai.images import (
    ImageRequestBody,
    image_response_fields,
    to_response_quality,
)

#: First word of the events' types.
EventPrefix = Literal["image_generation", "image_edit"]


@dataclass(slots=True)
class PartialImageSchedule:
    """Which of a sampler's pictures are shown, so that `wanted` of them lie evenly over the run."""

    requested: int
    #: Share of the steps done, and pictures shown, by shard.
    _progress_by_shard: dict[int, float] = field(default_factory=dict)
    _shown_by_shard: dict[int, int] = field(default_factory=dict)

    def set_progress(self, shard: int, share: float) -> None:
        self._progress_by_shard[shard] = share

    def take_next_index(self, shard: int) -> int | None:
        """The number of this picture of a shard, from 0 on; None: it is not to be shown."""
        shown = self._shown_by_shard.get(shard, 0)
        if shown >= self.requested or self._progress_by_shard.get(shard, 0.0) < (shown + 1) / (
            self.requested + 1
        ):
            return None
        self._shown_by_shard[shard] = shown + 1
        return shown


def to_partial_image_event(
    event_prefix: EventPrefix, body: ImageRequestBody, job: Job, place: tuple[int, int], now: datetime
) -> dict[str, Any]:
    """An unfinished picture, without its data; `place` is the shard's index and the picture's number."""
    width, height = job.params.get("width"), job.params.get("height")
    shard, number = place
    return {
        "type": f"{event_prefix}.partial_image",
        "created_at": int(now.timestamp()),
        "partial_image_index": number,
        "image_index": shard,
        "background": body.background or "auto",
        "output_format": body.output_format or "png",
        "quality": to_response_quality(body),
        "size": f"{width}x{height}" if width and height else "auto",
    }


def to_completed_event(
    event_prefix: EventPrefix, body: ImageRequestBody, output: Output, index: int, usage: dict[str, Any]
) -> dict[str, Any]:
    """A finished picture, without its data and time."""
    return {
        "type": f"{event_prefix}.completed",
        "image_index": index,
        **image_response_fields(body, [output]),
        "usage": usage,
    }

"""Events of OpenAI's streaming images API: unfinished images, then finished ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from orchestrator.jobs import JobRecord
from orchestrator.web.dialects.openai.image_bodies import ImageRequestBody
from orchestrator.web.dialects.openai.images import image_response_fields, to_response_quality
from orchestrator.web.dialects.openai.schemas import CompletedImageEvent, GenerationUsage, PartialImageEvent

#: First part of the types of events.
EventPrefix = Literal["image_generation", "image_edit"]


@dataclass(slots=True)
class PartialImageSchedule:
    """Chooses which previews of each shard to show, so that they are spread evenly over its run."""

    #: Number of previews to show of each shard.
    requested: int
    #: Fraction of the steps done, by shard.
    _progress_by_shard: dict[int, float] = field(default_factory=dict)
    #: Number of previews shown, by shard.
    _shown_by_shard: dict[int, int] = field(default_factory=dict)

    def set_progress(self, shard: int, fraction: float) -> None:
        """Record the progress of a shard."""
        self._progress_by_shard[shard] = fraction

    def take_next_index(self, shard: int) -> int | None:
        """Return the index, from 0, under which to show the shard's current preview, or None to skip it."""
        shown = self._shown_by_shard.get(shard, 0)
        due = (shown + 1) / (self.requested + 1)
        if shown >= self.requested or self._progress_by_shard.get(shard, 0.0) < due:
            return None
        self._shown_by_shard[shard] = shown + 1
        return shown


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEventBuilder:
    """Builds the events of one stream."""

    event_prefix: EventPrefix
    body: ImageRequestBody

    def partial_image(
        self, record: JobRecord, *, image_index: int, partial_index: int, b64_json: str, now: datetime
    ) -> PartialImageEvent:
        """Return the event of an unfinished image."""
        width, height = record.job.params.get("width"), record.job.params.get("height")
        return PartialImageEvent(
            type=f"{self.event_prefix}.partial_image",
            created_at=int(now.timestamp()),
            image_index=image_index,
            partial_image_index=partial_index,
            background=self.body.background or "auto",
            output_format=self.body.output_format or "png",
            quality=to_response_quality(self.body),
            size=f"{width}x{height}" if width and height else "auto",
            b64_json=b64_json,
        )

    def completed(
        self, record: JobRecord, *, image_index: int, b64_json: str, usage: GenerationUsage, now: datetime
    ) -> CompletedImageEvent:
        """Return the event of a finished image."""
        output = record.outputs[image_index]
        simulated = {"simulated": True} if record.is_simulated else {}
        return CompletedImageEvent(
            type=f"{self.event_prefix}.completed",
            created_at=int(now.timestamp()),
            image_index=image_index,
            **image_response_fields(self.body, [output]),
            usage=usage,
            b64_json=b64_json,
            **simulated,
        )

"""A generation as a stream: the sampler's unfinished pictures while it works, then the finished ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from orchestrator.errors import ServiceError, ServiceUnavailable
from orchestrator.jobs import JobRecord
from orchestrator.jobs.events import JobChanged, JobEvent, ShardPreview, ShardProgress, Subscription
from orchestrator.media.errors import CorruptMedia, ObjectStoreError
from orchestrator.media.formats import ImageEncoding
from orchestrator.service import GenerationService
from orchestrator.web.dialects.openai.images import ImageRequestBody
from orchestrator.web.dialects.openai.stream_events import (
    EventPrefix,
    PartialImageSchedule,
    to_completed_event,
    to_partial_image_event,
)
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.http.event_stream import EventStream, open_event_stream
from orchestrator.web.jobs.output_urls import OutputDelivery, encode_base64
from orchestrator.web.jobs.wait_for_result import cancel_on_disconnect, job_headers, require_success

log = logging.getLogger(__name__)

#: What previews are delivered as where the caller chooses nothing.
DEFAULT_PREVIEW_ENCODING = ImageEncoding("image/png")


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedPreview(ShardPreview):
    """A preview that is shown."""

    #: Of the shard's previews that are shown, from 0 on.
    preview_index: int


class PreviewSelection(Subscription):
    """Of all that a job tells, its state and the previews to show: none is lost to a slow reader."""

    def __init__(self, partial_images: int) -> None:
        super().__init__()
        self._schedule = PartialImageSchedule(partial_images)

    def slot(self, event: JobEvent) -> Hashable:
        return (
            (event.index, event.preview_index) if isinstance(event, SelectedPreview) else super().slot(event)
        )

    def put(self, event: JobEvent) -> None:
        match event:
            case ShardProgress(index=index, value=value, maximum=maximum):
                self._schedule.set_progress(index, value / maximum if maximum else 0.0)
            case ShardPreview(index=index, content_type=content_type, data=data):
                number = self._schedule.take_next_index(index)
                if number is not None:
                    super().put(
                        SelectedPreview(
                            index=index, content_type=content_type, data=data, preview_index=number
                        )
                    )
            case JobChanged():
                super().put(event)


@dataclass(frozen=True, slots=True)
class ImageStreamResponder:
    """One answer of events, in OpenAI's words."""

    service: GenerationService
    delivery: OutputDelivery
    body: ImageRequestBody
    event_prefix: EventPrefix

    async def stream_response(self, request: web.Request, record: JobRecord) -> web.StreamResponse:
        """The whole answer. What goes wrong after its head is sent is its last event."""
        async with open_event_stream(request, job_headers(record)) as (response, stream):
            try:
                async with cancel_on_disconnect(self.service, record):
                    done = require_success(await self._send_partial_images(stream, record))
                await self._send_completed_images(stream, done)
            except (ServiceError, ObjectStoreError) as error:
                await stream.send("error", _to_error_event(error))
        return response

    async def _send_partial_images(self, stream: EventStream, record: JobRecord) -> JobRecord:
        """Shows what there is to see until the job is finished. Raises ServiceUnavailable."""
        picks = PreviewSelection(self.body.partial_images or 0)
        with self.service.events.subscribe(record.job.id, picks):
            # Read again: what happened before the subscription is in the store, the rest will be told.
            record = await self.service.get_job(record.job.account_id, record.job.id)
            if record.job.is_finished:
                return record
            async for event in picks:
                if isinstance(event, SelectedPreview):
                    await self._send_partial_image(stream, record, event)
                elif isinstance(event, JobChanged) and event.record.job.is_finished:
                    return event.record
        raise ServiceUnavailable("The service is shutting down", code="shutting_down", retry_after=5)

    async def _send_partial_image(
        self, stream: EventStream, record: JobRecord, preview: SelectedPreview
    ) -> None:
        try:
            data = await asyncio.to_thread(
                (self.body.encoding or DEFAULT_PREVIEW_ENCODING).encode, preview.data
            )
        except CorruptMedia as error:
            log.warning("job %s: a preview is left out: %s", record.job.id, error)
            return
        place = (preview.index, preview.preview_index)
        event = to_partial_image_event(self.event_prefix, self.body, record.job, place, self.service.clock())
        await stream.send(event["type"], event | {"b64_json": await encode_base64(data)})

    async def _send_completed_images(self, stream: EventStream, record: JobRecord) -> None:
        usage = pixel_factory.to_usage(record, self.service.get_model(record.job))
        items = await self.delivery.load_data_items(
            record.outputs, as_urls=False, encoding=self.body.encoding
        )
        created = {"created_at": int(self.service.clock().timestamp())}
        if record.is_simulated:
            created["simulated"] = True
        for index, (output, item) in enumerate(zip(record.outputs, items, strict=True)):
            event = to_completed_event(self.event_prefix, self.body, output, index, usage)
            await stream.send(event["type"], event | created | item)
        await self.service.record_bytes_sent(record)


def _to_error_event(error: ServiceError | ObjectStoreError) -> dict[str, Any]:
    if isinstance(error, ObjectStoreError):
        log.error("a stream ends early: %s", error)
        error = ServiceUnavailable("The object store is away", code="store_unavailable")
    return {"type": "error", **pixel_factory.to_error_response(error)[1]}

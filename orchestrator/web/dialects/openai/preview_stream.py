"""A generation as a stream of events: unfinished images while it runs, then the finished ones."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from orchestrator.errors import ServiceError, ServiceUnavailable
from orchestrator.jobs import JobRecord
from orchestrator.jobs.events import EventHub, JobChanged, JobEvent, ShardPreview, ShardProgress, Subscription
from orchestrator.media.errors import CorruptMedia, ObjectStoreError
from orchestrator.media.formats import ImageEncoding
from orchestrator.web.auth import get_stream_access
from orchestrator.web.dialects.openai.image_bodies import ImageRequestBody
from orchestrator.web.dialects.openai.stream_events import (
    EventPrefix,
    ImageEventBuilder,
    PartialImageSchedule,
)
from orchestrator.web.dialects.pixel_factory import errors as pixel_factory_errors
from orchestrator.web.dialects.pixel_factory.translation import to_usage
from orchestrator.web.http.errors import object_storage_unavailable
from orchestrator.web.http.event_stream import EventStream, open_event_stream
from orchestrator.web.http.response_model import ResponseModel
from orchestrator.web.http.stream_access import end_on_revocation
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.pending_responses import keep_pending
from orchestrator.web.jobs.wait_for_result import cancel_on_disconnect, job_headers, require_success
from orchestrator.web.protocols import Clock, GenerationApi

log = logging.getLogger(__name__)

#: Format of previews if the request names none.
DEFAULT_PREVIEW_ENCODING = ImageEncoding("image/png")


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedPreview(ShardPreview):
    """A preview that the stream shows."""

    #: Index among the shown previews of the shard, from 0.
    preview_index: int


class PreviewSelection(Subscription):
    """Subscription that keeps a job's latest state and every preview to show, however slow the reader is."""

    def __init__(self, partial_images: int) -> None:
        super().__init__()
        self.shows_previews = partial_images > 0
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
                preview_index = self._schedule.take_next_index(index)
                if preview_index is not None:
                    super().put(
                        SelectedPreview(
                            index=index, content_type=content_type, data=data, preview_index=preview_index
                        )
                    )
            case JobChanged():
                super().put(event)


class ImageStreamResponder:
    """Responds to one generation with server-sent events in OpenAI's format."""

    def __init__(
        self,
        service: GenerationApi,
        delivery: OutputDelivery,
        body: ImageRequestBody,
        event_prefix: EventPrefix,
        *,
        events: EventHub,
        clock: Clock,
    ) -> None:
        self._service = service
        self._event_hub = events
        self._clock = clock
        self._delivery = delivery
        self._body = body
        self._events = ImageEventBuilder(event_prefix=event_prefix, body=body)

    async def stream_response(self, request: web.Request, record: JobRecord) -> web.StreamResponse:
        """Send all events of a job. Errors after the response headers are sent become its last event."""
        async with open_event_stream(request, job_headers(record)) as (response, stream):
            try:
                async with end_on_revocation(get_stream_access(request)):
                    await self._send_images(stream, record)
            except (ServiceError, ObjectStoreError) as error:
                if isinstance(error, ServiceUnavailable | ObjectStoreError):
                    keep_pending(request)
                await stream.send_last("error", _to_error_event(error))
        return response

    async def _send_images(self, stream: EventStream, record: JobRecord) -> None:
        """Send unfinished images, then the finished ones. Raises ServiceError, ObjectStoreError."""
        async with cancel_on_disconnect(self._service, record):
            done = require_success(await self._send_partial_images(stream, record))
        await self._send_completed_images(stream, done)

    async def _send_partial_images(self, stream: EventStream, record: JobRecord) -> JobRecord:
        """Send previews until the job is finished, and return it. Raises ServiceUnavailable."""
        previews = PreviewSelection(self._body.partial_images or 0)
        with self._event_hub.subscribe(record.job.id, previews):
            # Read the job after subscribing: earlier changes are in the store, later ones are published.
            record = await self._service.get_job(record.job.account_id, record.job.id)
            if record.job.is_finished:
                return record
            async for event in previews:
                if isinstance(event, SelectedPreview):
                    await self._send_partial_image(stream, record, event)
                elif isinstance(event, JobChanged) and event.record.job.is_finished:
                    return event.record
        raise ServiceUnavailable("The service is shutting down; retry", code="shutting_down", retry_after=5)

    async def _send_partial_image(
        self, stream: EventStream, record: JobRecord, preview: SelectedPreview
    ) -> None:
        encoding = self._body.encoding or DEFAULT_PREVIEW_ENCODING
        try:
            data = await asyncio.to_thread(encoding.encode, preview.data)
        except CorruptMedia as error:
            log.warning("job %s: skipped an unreadable preview: %s", record.job.id, error)
            return
        event = self._events.partial_image(
            record,
            image_index=preview.index,
            partial_index=preview.preview_index,
            b64_json=base64.b64encode(data).decode("ascii"),
            now=self._clock(),
        )
        await _send_event(stream, event.type, event)

    async def _send_completed_images(self, stream: EventStream, record: JobRecord) -> None:
        usage = to_usage(record, self._service.get_model(record.job))
        files = await self._delivery.load_files(record, encoding=self._body.encoding)
        now = self._clock()
        for index, file in enumerate(files):
            event = self._events.completed(
                record, image_index=index, b64_json=await file.to_base64(), usage=usage, now=now
            )
            await _send_event(stream, event.type, event)
        self._service.record_bytes_sent(record)


async def _send_event(stream: EventStream, name: str, event: ResponseModel) -> None:
    await stream.send(name, event.model_dump(exclude_unset=True))


def _to_error_event(error: ServiceError | ObjectStoreError) -> dict[str, Any]:
    if isinstance(error, ObjectStoreError):
        log.error("image stream aborted: object storage failed: %s", error)
        error = object_storage_unavailable()
    _, body = pixel_factory_errors.to_error_response(error)
    return {"type": "error", **body.model_dump(exclude_unset=True)}

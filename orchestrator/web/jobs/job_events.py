"""`GET /api/v1/jobs/{id}/events`: a job as server-sent events, for EventSource and other SSE clients.

    job       the job as `GET /api/v1/jobs/{id}` returns it: first, and after every change of its status
    queue     {"position", "estimatedFinish", "modelReady"}: queue position (null: all of its shards are
              running), and when its model is loaded (null: none is being loaded for it)
    started   {"shard", "attempt"}: a shard has started
    progress  {"shard", "node", "value", "max", "fraction"}: steps of the current node, share of the shard
    preview   {"shard", "content_type", "b64"}: an unfinished image from the sampler
    error     the body of an error response: the stream ends because its API key was revoked or has expired

Event ids grow within a job, also across connections: after a reconnect they continue from `Last-Event-ID`,
and
the present state is sent first. The final event of a job has a fixed id: a client that reconnects with it
gets
204, upon which EventSource stops reconnecting.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from orchestrator.errors import ServiceError
from orchestrator.jobs import JobRecord
from orchestrator.jobs.events import JobChanged, ShardPreview, ShardProgress, ShardStarted
from orchestrator.web.auth import AUTH_CONTEXT, get_stream_access
from orchestrator.web.dialects.error_responses import to_error_response
from orchestrator.web.http.event_stream import EventStream, open_event_stream
from orchestrator.web.http.response_model import to_json_dict
from orchestrator.web.http.stream_access import end_on_revocation
from orchestrator.web.jobs.job_updates import JobUpdate, JobUpdates, QueuePosition
from orchestrator.web.jobs.schemas import to_queue_position_response
from orchestrator.web.jobs.wait_for_result import note_job

#: Returns the `data` of a `job` event.
JobSerializer = Callable[[JobRecord], dict[str, Any]]

#: How long EventSource waits before it reconnects.
RECONNECT_MILLISECONDS = 2000
#: Id of the final event: the largest integer that JavaScript represents exactly.
FINAL_EVENT_ID = 2**53 - 1


def parse_last_event_id(request: web.Request) -> int:
    """Return the id of the last event that the client has received; 0 if there is none or it is not ours."""
    text = request.headers.get("Last-Event-ID", "")
    valid = text.isascii() and text.isdigit() and len(text) <= len(str(FINAL_EVENT_ID))
    return min(int(text), FINAL_EVENT_ID) if valid else 0


async def stream_job_events(
    request: web.Request, updates: JobUpdates, account_id: str, serialize_job: JobSerializer
) -> web.StreamResponse:
    """Send the events of the job in the path until it is finished. Raises NotFound, Gone."""
    job_id, event_id = request.match_info["id"], parse_last_event_id(request)
    record = note_job(request, await updates.jobs.get_job(account_id, job_id))
    if event_id == FINAL_EVENT_ID and record.job.is_finished:
        return web.Response(status=204)
    event_id %= FINAL_EVENT_ID
    access, open_streams = get_stream_access(request), request.app[AUTH_CONTEXT].open_streams
    async with (
        open_streams.count(account_id),
        open_event_stream(request, {}) as (response, stream),
        aclosing(updates.stream(account_id, job_id)) as job_updates,
    ):
        sender = _JobEventSender(stream, serialize_job, event_id)
        try:
            async with end_on_revocation(access):
                await sender.send_all(job_updates)
        except ServiceError as error:
            _, body = to_error_response(request.path, error)
            await stream.send_last("error", body, event_id=sender.event_id + 1)
    return response


@dataclass(slots=True)
class _JobEventSender:
    """Sends the updates of a job as numbered events."""

    stream: EventStream
    serialize_job: JobSerializer
    #: Id of the last event.
    event_id: int

    async def send_all(self, updates: AsyncIterator[JobUpdate]) -> None:
        async for update in updates:
            self.event_id = FINAL_EVENT_ID if _is_final_update(update) else self.event_id + 1
            event, data = to_sse_event(update, self.serialize_job)
            retry = RECONNECT_MILLISECONDS if isinstance(update, JobChanged) else None
            await self.stream.send(event, data, event_id=self.event_id, retry_milliseconds=retry)


def to_sse_event(update: JobUpdate, serialize_job: JobSerializer) -> tuple[str, dict[str, Any]]:
    """Return the name and the data of the event for an update."""
    match update:
        case JobChanged(record=record):
            return "job", serialize_job(record)
        case QueuePosition():
            return "queue", to_json_dict(to_queue_position_response(update))
        case ShardStarted(index=index, attempt=attempt):
            return "started", {"shard": index, "attempt": attempt}
        case ShardProgress(index=index, node_id=node, value=value, maximum=maximum, fraction=fraction):
            steps = {"node": node, "value": value, "max": maximum, "fraction": round(fraction, 4)}
            return "progress", {"shard": index, **steps}
        case ShardPreview(index=index, content_type=content_type, data=data):
            return "preview", {"shard": index, "content_type": content_type, "b64": encode_preview(data)}


def encode_preview(data: bytes) -> str:
    """Return a preview as base64."""
    return base64.b64encode(data).decode("ascii")


def _is_final_update(update: JobUpdate) -> bool:
    return isinstance(update, JobChanged) and update.record.job.is_finished

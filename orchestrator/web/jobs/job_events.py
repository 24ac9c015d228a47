"""`/api/v1/jobs/{id}/events`: a job as server-sent events, for EventSource and anything like it.

    job       the job as `GET /api/v1/jobs/{id}` shows it: first of all, and whenever it changed
    queue     {"position", "estimatedFinish"}: its place in the queue (null: everything of it runs)
    started   {"shard", "attempt"}
    progress  {"shard", "node", "value", "max", "fraction"}: steps of a node, and share of the whole shard
    preview   {"shard", "content_type", "b64"}: what the sampler has so far

Ids grow within a job, also over connections: they go on from the `Last-Event-ID` of a reader who comes
back, who is told the present state first. The end of a job has an id of its own: a reader who comes back
with that has heard everything, and gets 204, upon which EventSource stops asking.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from aiohttp import web

from orchestrator.jobs import JobRecord
from orchestrator.jobs.events import JobChanged, ShardPreview, ShardProgress, ShardStarted
from orchestrator.service import GenerationService
from orchestrator.web.http.event_stream import open_event_stream
from orchestrator.web.jobs.job_updates import JobUpdate, QueuePosition, stream_job_updates
from orchestrator.web.jobs.views import to_queue_position_response

#: What a caller sees of a job.
JobSerializer = Callable[[JobRecord], dict[str, Any]]

#: Milliseconds after which EventSource comes back when the connection breaks.
RECONNECT_MILLISECONDS = 2000
#: Id of the event that tells of the end: the largest whole number that every JSON reader keeps.
FINAL_EVENT_ID = 2**53 - 1


def parse_last_event_id(request: web.Request) -> int:
    """The id of the last event that a reader has seen; 0 for one who comes anew, or with no id of ours."""
    text = request.headers.get("Last-Event-ID", "")
    known = text.isascii() and text.isdigit() and len(text) <= len(str(FINAL_EVENT_ID))
    return min(int(text), FINAL_EVENT_ID) if known else 0


async def stream_job_events(
    request: web.Request, service: GenerationService, account_id: str, serialize_job: JobSerializer
) -> web.StreamResponse:
    """Events until the job is finished; `view` shows the job itself. Raises NotFound, Gone."""
    job_id, seen = request.match_info["id"], parse_last_event_id(request)
    record = await service.get_job(account_id, job_id)
    if seen == FINAL_EVENT_ID and record.job.is_finished:
        return web.Response(status=204)
    seen %= FINAL_EVENT_ID
    async with (
        open_event_stream(request, {}) as (response, stream),
        aclosing(stream_job_updates(service, account_id, job_id)) as events,
    ):
        async for told in events:
            seen = FINAL_EVENT_ID if _is_final_update(told) else seen + 1
            name, data = _to_sse_event(told, serialize_job)
            await stream.send(
                name,
                data,
                event_id=seen,
                retry_milliseconds=RECONNECT_MILLISECONDS if isinstance(told, JobChanged) else None,
            )
    return response


def _is_final_update(update: JobUpdate) -> bool:
    return isinstance(update, JobChanged) and update.record.job.is_finished


def _to_sse_event(update: JobUpdate, serialize_job: JobSerializer) -> tuple[str, dict[str, Any]]:
    match update:
        case JobChanged(record=record):
            return "job", serialize_job(record)
        case QueuePosition():
            return "queue", to_queue_position_response(update)
        case ShardStarted(index=index, attempt=attempt):
            return "started", {"shard": index, "attempt": attempt}
        case ShardProgress(index=index, node_id=node, value=value, maximum=maximum, fraction=fraction):
            steps = {"node": node, "value": value, "max": maximum, "fraction": round(fraction, 4)}
            return "progress", {"shard": index, **steps}
        case ShardPreview(index=index, content_type=content_type, data=data):
            encoded = base64.b64encode(data).decode("ascii")
            return "preview", {"shard": index, "content_type": content_type, "b64": encoded}

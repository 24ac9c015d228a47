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
from orchestrator.service import Service
from orchestrator.web.http.event_stream import event_stream
from orchestrator.web.jobs.job_updates import Place, Told, follow
from orchestrator.web.jobs.views import place_view

#: What a caller sees of a job.
View = Callable[[JobRecord], dict[str, Any]]

#: Milliseconds after which EventSource comes back when the connection breaks.
RETRY = 2000
#: Id of the event that tells of the end: the largest whole number that every JSON reader keeps.
END = 2**53 - 1


def last_event_id(request: web.Request) -> int:
    """The id of the last event that a reader has seen; 0 for one who comes anew, or with no id of ours."""
    text = request.headers.get("Last-Event-ID", "")
    known = text.isascii() and text.isdigit() and len(text) <= len(str(END))
    return min(int(text), END) if known else 0


async def tell_events(
    request: web.Request, service: Service, account_id: str, view: View
) -> web.StreamResponse:
    """Events until the job is finished; `view` shows the job itself. Raises NotFound, Gone."""
    job_id, seen = request.match_info["id"], last_event_id(request)
    record = await service.get(account_id, job_id)
    if seen == END and record.job.finished:
        return web.Response(status=204)
    seen %= END
    async with (
        event_stream(request, {}) as (response, stream),
        aclosing(follow(service, account_id, job_id)) as events,
    ):
        async for told in events:
            seen = END if _is_end(told) else seen + 1
            name, data = _event(told, view)
            await stream.send(name, data, id=seen, retry=RETRY if isinstance(told, JobChanged) else None)
    return response


def _is_end(told: Told) -> bool:
    return isinstance(told, JobChanged) and told.record.job.finished


def _event(told: Told, view: View) -> tuple[str, dict[str, Any]]:
    match told:
        case JobChanged(record=record):
            return "job", view(record)
        case Place():
            return "queue", place_view(told)
        case ShardStarted(index=index, attempt=attempt):
            return "started", {"shard": index, "attempt": attempt}
        case ShardProgress(index=index, node=node, value=value, maximum=maximum, fraction=fraction):
            steps = {"node": node, "value": value, "max": maximum, "fraction": round(fraction, 4)}
            return "progress", {"shard": index, **steps}
        case ShardPreview(index=index, content_type=content_type, data=data):
            encoded = base64.b64encode(data).decode("ascii")
            return "preview", {"shard": index, "content_type": content_type, "b64": encoded}

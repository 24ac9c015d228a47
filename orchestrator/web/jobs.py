"""Jobs as a resource: look, list, follow live, cancel."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from orchestrator.errors import InvalidRequest
from orchestrator.events import JobChanged, JobEvent, ShardPreview, ShardProgress, ShardStarted
from orchestrator.jobs import JobRecord, JobStatus, ShardStatus
from orchestrator.service import Service
from orchestrator.web.auth import authenticate
from orchestrator.web.delivery import Delivery
from orchestrator.web.queries import limit
from pricing.money import to_cents, to_usd

_INPUT_KEY = re.compile(r"inputs/[0-9a-f]{2}/[0-9a-f]{64}\.[a-z0-9]+")


class Jobs:
    """The caller's own jobs; those of others look as if they did not exist."""

    def __init__(self, service: Service, delivery: Delivery) -> None:
        self._service = service
        self._delivery = delivery

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/jobs", self.page),
            web.get("/api/v1/jobs/{id}", self.get),
            web.delete("/api/v1/jobs/{id}", self.cancel),
            web.get("/api/v1/jobs/{id}/events", self.events),
        ]

    async def page(self, request: web.Request) -> web.Response:
        key = await authenticate(request, self._service.store)
        page = await self._service.jobs(
            key.account.id,
            limit=limit(request),
            cursor=request.query.get("cursor"),
            status=_status(request),
        )
        jobs = [job_view(record, self._delivery) for record in page.items]
        return web.json_response({"jobs": jobs, "nextCursor": page.cursor})

    async def get(self, request: web.Request) -> web.Response:
        return web.json_response(job_view(await self._own(request), self._delivery))

    async def cancel(self, request: web.Request) -> web.Response:
        record = await self._own(request)
        record = await self._service.cancel(record.job.id)
        return web.json_response(job_view(record, self._delivery))

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events until the job is finished."""
        record = await self._own(request)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        async for name, data in self._told(record):
            await response.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
        return response

    async def _told(self, record: JobRecord) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        with self._service.events.subscribe(record.job.id) as subscription:
            # Read again: what happened before the subscription is in the store, the rest will be told.
            record = await self._service.get(record.job.account_id, record.job.id)
            yield "job", job_view(record, self._delivery)
            if record.job.finished:
                return
            async for event in subscription:
                if isinstance(event, JobChanged):
                    yield "job", job_view(event.record, self._delivery)
                else:
                    yield _live(event)

    async def _own(self, request: web.Request) -> JobRecord:
        key = await authenticate(request, self._service.store)
        return await self._service.get(key.account.id, request.match_info["id"])


#: Our states in the words of callers who poll.
STATES = {
    JobStatus.QUEUED: "pending",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}


def job_view(record: JobRecord, delivery: Delivery) -> dict[str, Any]:
    """What a caller sees of a job. URLs are made anew each time and expire."""
    job = record.job
    urls: dict[str, list[str]] = {}
    for output in record.outputs if job.status is JobStatus.SUCCEEDED else ():
        urls.setdefault(_media(output.content_type), []).append(delivery.url(output))
    done = sum(shard.status is ShardStatus.SUCCEEDED for shard in record.shards)
    return {
        "jobId": job.id,
        "status": STATES[job.status],
        "model": job.model,
        "output": urls,
        "shards": {"total": len(record.shards), "done": done},
        "params": {name: value for name, value in job.params.items() if not _is_key(value)},
        "costUsd": to_usd(job.price) if job.status is JobStatus.SUCCEEDED else 0.0,
        "costCents": to_cents(job.price) if job.status is JobStatus.SUCCEEDED else 0.0,
        "simulated": record.simulated,
        "error": {"code": job.error.code, "message": job.error.message} if job.error else None,
        "createdAt": job.created_at.isoformat(),
        "startedAt": job.started_at.isoformat() if job.started_at else None,
        "finishedAt": job.finished_at.isoformat() if job.finished_at else None,
    }


def _media(content_type: str) -> str:
    return {"image": "images", "video": "videos", "audio": "audio"}.get(
        content_type.partition("/")[0], "files"
    )


def _is_key(value: object) -> bool:
    """Whether a parameter is an uploaded picture, whose place in the bucket is nobody's business."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, str) and bool(_INPUT_KEY.fullmatch(first))


def _live(event: JobEvent) -> tuple[str, dict[str, Any]]:
    match event:
        case ShardStarted(index=index, attempt=attempt):
            return "started", {"shard": index, "attempt": attempt}
        case ShardProgress(index=index, node=node, value=value, maximum=maximum):
            return "progress", {"shard": index, "node": node, "value": value, "max": maximum}
        case ShardPreview(index=index, content_type=content_type, data=data):
            encoded = base64.b64encode(data).decode("ascii")
            return "preview", {"shard": index, "content_type": content_type, "b64": encoded}
        case JobChanged():
            raise AssertionError("told as a whole job")


def _status(request: web.Request) -> JobStatus | None:
    text = request.query.get("status")
    if text is None:
        return None
    by_word = {word: status for status, word in STATES.items()}
    if text not in by_word:
        raise InvalidRequest(
            f"`status` must be one of {', '.join(by_word)}", code="invalid_status", param="status"
        )
    return by_word[text]

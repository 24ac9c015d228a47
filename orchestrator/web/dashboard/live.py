"""A stream of events of the jobs on a page.

One stream carries the events of all of them, because browsers open at most six connections to a host.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import aclosing
from typing import Any

from aiohttp import web

from orchestrator.errors import InvalidRequest
from orchestrator.jobs.events import JobChanged, JobEvent, ShardPreview, ShardProgress, ShardStarted
from orchestrator.service import GenerationService
from orchestrator.store import ApiKeyScope
from orchestrator.web.dashboard.playground import to_playground_job
from orchestrator.web.dashboard.sessions import SessionManager
from orchestrator.web.http.event_stream import open_event_stream
from orchestrator.web.jobs.job_updates import QueuePosition, stream_job_updates
from orchestrator.web.jobs.output_urls import OutputDelivery

MAX_STREAMED_JOBS = 50


class JobStreamRoutes:
    """`/dashboard/api/live?job=...&job=...`"""

    def __init__(
        self, service: GenerationService, delivery: OutputDelivery, sessions: SessionManager
    ) -> None:
        self._service = service
        self._delivery = delivery
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/dashboard/api/live", self.stream_jobs)]

    async def stream_jobs(self, request: web.Request) -> web.StreamResponse:
        """Send server-sent events until all jobs have finished, beginning with the current state of each."""
        account = (await self._sessions.require_key(request, ApiKeyScope.READ)).account.id
        ids = dict.fromkeys(request.query.getall("job", []))
        if not 1 <= len(ids) <= MAX_STREAMED_JOBS:
            raise InvalidRequest(
                f"`job` must be given 1 to {MAX_STREAMED_JOBS} times (got {len(ids)} ids)", code="invalid_job"
            )
        for job_id in ids:
            await self._service.get_job(account, job_id)
        async with open_event_stream(request, {}) as (response, stream):

            async def stream_job(job_id: str) -> None:
                async with aclosing(stream_job_updates(self._service, account, job_id)) as events:
                    async for event in events:
                        if not isinstance(event, QueuePosition):
                            await stream.send(*self._to_sse_event(job_id, event))

            try:
                async with asyncio.TaskGroup() as group:
                    for job_id in ids:
                        group.create_task(stream_job(job_id))
            except* ConnectionResetError:
                pass  # The browser closed the stream; the jobs continue.
        return response

    def _to_sse_event(self, job_id: str, event: JobEvent) -> tuple[str, dict[str, Any]]:
        match event:
            case JobChanged(record=record):
                return "job", to_playground_job(record, self._delivery)
            case ShardStarted(index=index):
                return "started", {"job": job_id, "shard": index}
            case ShardProgress(index=index, value=value, maximum=maximum, fraction=fraction):
                steps = {"value": value, "max": maximum, "fraction": fraction}
                return "progress", {"job": job_id, "shard": index, **steps}
            case ShardPreview(index=index, content_type=content_type, data=data):
                src = f"data:{content_type};base64,{base64.b64encode(data).decode('ascii')}"
                return "preview", {"job": job_id, "shard": index, "src": src}

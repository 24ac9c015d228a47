"""What becomes of the jobs on a page, as it happens.

One stream serves all of them, because browsers open only six connections to a host.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from orchestrator.errors import InvalidRequest
from orchestrator.events import JobChanged, JobEvent, ShardPreview, ShardProgress, ShardStarted
from orchestrator.service import Service
from orchestrator.store import Scope
from orchestrator.web.dashboard.playground import view
from orchestrator.web.dashboard.sessions import Sessions
from orchestrator.web.delivery import Delivery

MAX_FOLLOWED = 50

#: Name and data of a server-sent event.
Told = tuple[str, dict[str, Any]]


class Live:
    """`/dashboard/api/live?job=...&job=...`"""

    def __init__(self, service: Service, delivery: Delivery, sessions: Sessions) -> None:
        self._service = service
        self._delivery = delivery
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/dashboard/api/live", self.live)]

    async def live(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events until all the jobs are finished. Their first event is their present state."""
        account = (await self._sessions.key(request, Scope.READ)).account.id
        ids = dict.fromkeys(request.query.getall("job", []))
        if not 1 <= len(ids) <= MAX_FOLLOWED:
            raise InvalidRequest(f"Between 1 and {MAX_FOLLOWED} jobs can be followed", code="invalid_job")
        for job_id in ids:
            await self._service.get(account, job_id)
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)

        async def follow(job_id: str) -> None:
            async for name, data in self._told(account, job_id):
                await response.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

        try:
            async with asyncio.TaskGroup() as group:
                for job_id in ids:
                    group.create_task(follow(job_id))
        except* ConnectionResetError:
            pass  # The reader left; the jobs go on.
        return response

    async def _told(self, account: str, job_id: str) -> AsyncIterator[Told]:
        with self._service.events.subscribe(job_id) as subscription:
            # Read after subscribing: what happened before is in the store, the rest will be told.
            record = await self._service.get(account, job_id)
            yield "job", view(record, self._delivery)
            if record.job.finished:
                return
            async for event in subscription:
                yield self._event(job_id, event)

    def _event(self, job_id: str, event: JobEvent) -> Told:
        match event:
            case JobChanged(record=record):
                return "job", view(record, self._delivery)
            case ShardStarted(index=index):
                return "started", {"job": job_id, "shard": index}
            case ShardProgress(index=index, value=value, maximum=maximum, fraction=fraction):
                steps = {"value": value, "max": maximum, "fraction": fraction}
                return "progress", {"job": job_id, "shard": index, **steps}
            case ShardPreview(index=index, content_type=content_type, data=data):
                picture = f"data:{content_type};base64,{base64.b64encode(data).decode('ascii')}"
                return "preview", {"job": job_id, "shard": index, "src": picture}

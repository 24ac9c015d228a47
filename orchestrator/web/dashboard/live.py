"""A stream of events of the jobs on a page.

One stream carries the events of all of them, because browsers open at most six connections to a host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

from aiohttp import web

from orchestrator.errors import InvalidRequest, ServiceError
from orchestrator.jobs import JobRecord
from orchestrator.store import ApiKeyScope
from orchestrator.web.auth import AUTH_CONTEXT
from orchestrator.web.dashboard.job_views import to_playground_job
from orchestrator.web.dashboard.sessions import SessionManager
from orchestrator.web.dialects.error_responses import to_error_response
from orchestrator.web.http.event_stream import EventStream, open_event_stream
from orchestrator.web.http.response_model import to_json_dict
from orchestrator.web.http.stream_access import end_on_revocation
from orchestrator.web.jobs.job_events import JobSerializer, to_sse_event
from orchestrator.web.jobs.job_updates import JobUpdate, JobUpdates
from orchestrator.web.jobs.output_urls import OutputDelivery

MAX_STREAMED_JOBS = 50


class JobStreamRoutes:
    """`/dashboard/api/live?job=...&job=...`"""

    def __init__(self, updates: JobUpdates, delivery: OutputDelivery, sessions: SessionManager) -> None:
        self._updates = updates
        self._delivery = delivery
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/dashboard/api/live", self.stream_jobs)]

    async def stream_jobs(self, request: web.Request) -> web.StreamResponse:
        """Send server-sent events until all jobs have finished, beginning with the current state of each."""
        key = await self._sessions.require_key(request, ApiKeyScope.READ)
        account = key.account.id
        ids = dict.fromkeys(request.query.getall("job", []))
        if not 1 <= len(ids) <= MAX_STREAMED_JOBS:
            raise InvalidRequest(
                f"`job` must be given 1 to {MAX_STREAMED_JOBS} times (got {len(ids)} ids)", code="invalid_job"
            )
        for job_id in ids:
            await self._updates.jobs.get_job(account, job_id)
        access = self._sessions.get_stream_access(request, key, ApiKeyScope.READ)
        async with (
            request.app[AUTH_CONTEXT].open_streams.count(account),
            open_event_stream(request, {}) as (response, stream),
        ):
            try:
                async with end_on_revocation(access):
                    await self._send_jobs(request, stream, account, ids)
            except ServiceError as error:
                _, body = to_error_response(request.path, error)
                await stream.send_last("error", body)
        return response

    async def _send_jobs(
        self, request: web.Request, stream: EventStream, account_id: str, job_ids: Iterable[str]
    ) -> None:
        """Send the events of all jobs until they have finished or the browser has disconnected."""

        def serialize(record: JobRecord) -> dict[str, Any]:
            return to_json_dict(to_playground_job(record, self._delivery, request))

        async def send_job(job_id: str) -> None:
            async with aclosing(self._updates.stream(account_id, job_id)) as events:
                async for event in events:
                    await stream.send(*_to_sse_event(job_id, event, serialize))

        try:
            async with asyncio.TaskGroup() as group:
                for job_id in job_ids:
                    group.create_task(send_job(job_id))
        except ExceptionGroup as errors:
            # Where the browser closed the stream, the jobs continue.
            _, rest = errors.split(ConnectionResetError)
            rejected, others = rest.split(ServiceError) if rest is not None else (None, None)
            if others is not None:
                raise
            if rejected is not None:
                # Not in `except*`: up to Python 3.11.3, what is raised there is raised in a group.
                raise rejected.exceptions[0] from None


def _to_sse_event(job_id: str, event: JobUpdate, serialize_job: JobSerializer) -> tuple[str, dict[str, Any]]:
    """Return an event of the jobs API with the job's id; previews are data URLs."""
    name, data = to_sse_event(event, serialize_job)
    if name == "job":
        return name, data
    if name == "preview":
        data["src"] = f"data:{data.pop('content_type')};base64,{data.pop('b64')}"
    return name, {"job": job_id, **data}

"""Jobs as a resource: look, list, follow live, cancel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from orchestrator.errors import InvalidRequest
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.service import Service
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.pixeldojo import schemas as answers
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.http.queries import limit
from orchestrator.web.jobs.job_events import tell_events
from orchestrator.web.jobs.job_updates import place_of
from orchestrator.web.jobs.output_urls import Delivery
from orchestrator.web.jobs.views import STATES, job_view, place_view
from orchestrator.web.jobs.wait_for_result import job_headers
from orchestrator.web.openapi.operation import CURSOR, LIMIT, Value, describes
from orchestrator.webhooks.sender import history, standing

CHOICE = {
    "limit": LIMIT,
    "cursor": CURSOR,
    "status": Value({"enum": list(STATES.values())}, "Only jobs in this state."),
    "model": Value({"type": "string"}, "Only jobs of this model."),
}


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

    @describes(answer=answers.JobListResponse, query=CHOICE, tag="jobs")
    async def page(self, request: web.Request) -> web.Response:
        """The jobs, newest first; `status` and `model` choose among them."""
        key = await authenticate(request, self._service.store)
        page = await self._service.jobs(
            key.account.id,
            limit=limit(request),
            cursor=request.query.get("cursor"),
            status=_status(request),
            model=request.query.get("model"),
        )
        jobs = [self.view(record) for record in page.items]
        return web.json_response({"jobs": jobs, "nextCursor": page.cursor})

    @describes(answer=answers.JobResponse, tag="jobs")
    async def get(self, request: web.Request) -> web.Response:
        """One job, with its place in the queue while it is not finished."""
        record = await self._own(request)
        place = place_of(self._service, record.job.id)
        queue = {"queue": place_view(place) if place else None}
        told = {"webhook": await self._told(record)}
        return web.json_response(self.view(record) | queue | told, headers=job_headers(record))

    @describes(answer=answers.JobResponse, tag="jobs")
    async def cancel(self, request: web.Request) -> web.Response:
        """Gives a job up: what has not run is not charged."""
        record = await self._own(request)
        record = await self._service.cancel(record.job.id)
        return web.json_response(self.view(record))

    @describes(media=("text/event-stream",), also={204: "All has been told."}, tag="jobs")
    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events until the job is finished."""
        key = await authenticate(request, self._service.store)
        return await tell_events(request, self._service, key.account.id, self.view)

    async def _told(self, record: JobRecord) -> Mapping[str, object] | None:
        """How it stands with the job's webhook, try by try."""
        message = await self._service.store.find_job_message(record.job.id)
        state = standing(record.job.receiver, message)
        return state and {**state, "history": history(message.delivery_attempts if message else ())}

    def view(self, record: JobRecord) -> dict[str, Any]:
        """All of a job as it is now, with URLs that have just been made."""
        unit = self._service.prices_now.unit(pixeldojo.TARIFF)
        return job_view(record, self._delivery) | pixeldojo.job_credit_cost(record.job, unit)

    async def _own(self, request: web.Request) -> JobRecord:
        key = await authenticate(request, self._service.store)
        return await self._service.get(key.account.id, request.match_info["id"])


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

"""Jobs as a resource: look, list, follow live, cancel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from orchestrator.errors import InvalidRequest
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.service import GenerationService
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.pixeldojo import schemas as answers
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.jobs.job_events import stream_job_events
from orchestrator.web.jobs.job_updates import get_queue_position
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.views import JOB_STATUS_NAMES, to_job_response, to_queue_position_response
from orchestrator.web.jobs.wait_for_result import job_headers
from orchestrator.web.openapi.operation import CURSOR_PARAM, LIMIT_PARAM, ParameterSpec, openapi_operation
from orchestrator.webhooks.sender import to_attempt_history, to_delivery_status

LIST_JOBS_PARAMS = {
    "limit": LIMIT_PARAM,
    "cursor": CURSOR_PARAM,
    "status": ParameterSpec({"enum": list(JOB_STATUS_NAMES.values())}, "Only jobs in this state."),
    "model": ParameterSpec({"type": "string"}, "Only jobs of this model."),
}


class JobApiRoutes:
    """The caller's own jobs; those of others look as if they did not exist."""

    def __init__(self, service: GenerationService, delivery: OutputDelivery) -> None:
        self._service = service
        self._delivery = delivery

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/jobs", self.list_jobs),
            web.get("/api/v1/jobs/{id}", self.get_job),
            web.delete("/api/v1/jobs/{id}", self.cancel_job),
            web.get("/api/v1/jobs/{id}/events", self.stream_events),
        ]

    @openapi_operation(response=answers.JobListResponse, query=LIST_JOBS_PARAMS, tag="jobs")
    async def list_jobs(self, request: web.Request) -> web.Response:
        """The jobs, newest first; `status` and `model` choose among them."""
        key = await authenticate(request, self._service.store)
        page = await self._service.list_jobs(
            key.account.id,
            limit=parse_limit(request),
            cursor=request.query.get("cursor"),
            status=_parse_status(request),
            model=request.query.get("model"),
        )
        jobs = [self.to_response(record) for record in page.items]
        return web.json_response({"jobs": jobs, "nextCursor": page.cursor})

    @openapi_operation(response=answers.JobResponse, tag="jobs")
    async def get_job(self, request: web.Request) -> web.Response:
        """One job, with its place in the queue while it is not finished."""
        record = await self._get_own_job(request)
        place = get_queue_position(self._service, record.job.id)
        queue = {"queue": to_queue_position_response(place) if place else None}
        told = {"webhook": await self._get_webhook_status(record)}
        return web.json_response(self.to_response(record) | queue | told, headers=job_headers(record))

    @openapi_operation(response=answers.JobResponse, tag="jobs")
    async def cancel_job(self, request: web.Request) -> web.Response:
        """Gives a job up: what has not run is not charged."""
        record = await self._get_own_job(request)
        record = await self._service.cancel_job(record.job.id)
        return web.json_response(self.to_response(record))

    @openapi_operation(
        content_types=("text/event-stream",), other_responses={204: "All has been told."}, tag="jobs"
    )
    async def stream_events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events until the job is finished."""
        key = await authenticate(request, self._service.store)
        return await stream_job_events(request, self._service, key.account.id, self.to_response)

    async def _get_webhook_status(self, record: JobRecord) -> Mapping[str, object] | None:
        """How it stands with the job's webhook, try by try."""
        message = await self._service.store.find_job_message(record.job.id)
        state = to_delivery_status(record.job.notify_url, message)
        return state and {
            **state,
            "history": to_attempt_history(message.delivery_attempts if message else ()),
        }

    def to_response(self, record: JobRecord) -> dict[str, Any]:
        """All of a job as it is now, with URLs that have just been made."""
        unit = self._service.price_book.micros_per_unit(pixeldojo.TARIFF)
        return to_job_response(record, self._delivery) | pixeldojo.job_credit_cost(record.job, unit)

    async def _get_own_job(self, request: web.Request) -> JobRecord:
        key = await authenticate(request, self._service.store)
        return await self._service.get_job(key.account.id, request.match_info["id"])


def _parse_status(request: web.Request) -> JobStatus | None:
    text = request.query.get("status")
    if text is None:
        return None
    by_word = {word: status for status, word in JOB_STATUS_NAMES.items()}
    if text not in by_word:
        raise InvalidRequest(
            f"`status` must be one of {', '.join(by_word)}", code="invalid_status", param="status"
        )
    return by_word[text]

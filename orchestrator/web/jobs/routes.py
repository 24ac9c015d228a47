"""`/api/v1/jobs`: list, get, follow and cancel the caller's jobs, whatever dialect created them."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from orchestrator.errors import NotFound, invalid_field
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.store import WebhookMessage
from orchestrator.web.auth import READ_METHODS, authenticate
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.http.response_model import json_response, to_json_dict
from orchestrator.web.jobs.job_events import stream_job_events
from orchestrator.web.jobs.job_updates import JobUpdates
from orchestrator.web.jobs.schemas import (
    JOB_STATUS_NAMES,
    JobListResponse,
    JobResponse,
    JobResponseBuilder,
    JobWebhookStatus,
    to_job_webhook_status,
    to_queue_position_response,
)
from orchestrator.web.jobs.wait_for_result import job_headers, note_job
from orchestrator.web.openapi.operation import CURSOR_PARAM, LIMIT_PARAM, ParameterSpec, openapi_operation
from orchestrator.web.protocols import JobService

LIST_JOBS_PARAMS = {
    "limit": LIMIT_PARAM,
    "cursor": CURSOR_PARAM,
    "status": ParameterSpec({"enum": list(JOB_STATUS_NAMES.values())}, "Return only jobs with this status."),
    "model": ParameterSpec({"type": "string"}, "Return only jobs of this model id."),
}


class JobMessageFinder(Protocol):
    """Looks up the webhook message of a job."""

    async def find_job_message(self, job_id: str) -> WebhookMessage | None: ...


class JobApiRoutes:
    """The caller's own jobs; jobs of other accounts are reported as not found."""

    def __init__(
        self,
        jobs: JobService,
        updates: JobUpdates,
        messages: JobMessageFinder,
        responses: JobResponseBuilder,
    ) -> None:
        self._jobs = jobs
        self._updates = updates
        self._messages = messages
        self._responses = responses

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/jobs", self.list_jobs),
            web.get("/api/v1/jobs/{id}", self.get_job),
            web.delete("/api/v1/jobs/{id}", self.cancel_job),
            web.delete("/api/v1/jobs/{id}/shards/{index}", self.cancel_shard),
            web.get("/api/v1/jobs/{id}/events", self.stream_events),
        ]

    @openapi_operation(
        summary="List jobs",
        description="Returns the account's jobs, newest first, in pages. Filter by `status` and `model`.",
        query=LIST_JOBS_PARAMS,
        response=JobListResponse,
        tag="jobs",
    )
    async def list_jobs(self, request: web.Request) -> web.Response:
        """Return a page of the caller's jobs."""
        key = await authenticate(request)
        page = await self._jobs.list_jobs(
            key.account.id,
            limit=parse_limit(request),
            cursor=request.query.get("cursor"),
            status=parse_status(request),
            model=request.query.get("model"),
        )
        jobs = [self._responses.build(record, request) for record in page.items]
        return json_response(JobListResponse(jobs=jobs, nextCursor=page.cursor))

    @openapi_operation(
        summary="Get a job",
        description="Returns status, results, queue position and webhook deliveries of a job. Poll it until "
        "`status` is `completed`, `failed` or `cancelled`, or follow the job with "
        "`GET /api/v1/jobs/{id}/events`. URLs are made anew for each response and expire.",
        response=JobResponse,
        tag="jobs",
    )
    async def get_job(self, request: web.Request) -> web.Response:
        """Return one job."""
        record = await self._get_own_job(request)
        position = self._updates.get_queue_position(record.job.id)
        body = self._responses.build(record, request).model_copy(
            update={
                "queue": to_queue_position_response(position) if position else None,
                "webhook": await self._get_webhook_status(record),
            }
        )
        return json_response(body, headers=job_headers(record))

    @openapi_operation(
        summary="Cancel a job",
        description="Cancels an unfinished job: waiting shards are dropped, running ones are interrupted, "
        "and "
        "nothing is charged. A finished job is returned unchanged.",
        response=JobResponse,
        tag="jobs",
    )
    async def cancel_job(self, request: web.Request) -> web.Response:
        """Cancel one job and return it."""
        record = await self._get_own_job(request)
        record = await self._jobs.cancel_job(record.job.id)
        return json_response(self._responses.build(record, request))

    @openapi_operation(
        summary="Cancel one result of a job",
        description="Cancels one of the results of an unfinished job, such as one image of four, counted from"
        " 0; the others go on. Results that are finished stay and are charged: the price falls by an equal"
        " share for each cancelled result, and not below the minimum charge of a request. A job whose results"
        " are all cancelled is cancelled and costs nothing. A result that is finished stays unchanged.",
        response=JobResponse,
        tag="jobs",
    )
    async def cancel_shard(self, request: web.Request) -> web.Response:
        """Cancel one result of a job and return the job."""
        record = await self._get_own_job(request)
        record = await self._jobs.cancel_shard(record, parse_shard_index(request, record))
        return json_response(self._responses.build(record, request))

    @openapi_operation(
        summary="Stream job events",
        description="Server-sent events until the job is finished: `job` (the job itself, first and after "
        "each change), `queue` (position and estimated finish), `started`, `progress` and `preview` (an "
        "unfinished image as base64). `error` is the last event if the stream cannot go on, for example "
        "because the API key is revoked meanwhile. Reconnect with `Last-Event-ID` to continue.",
        response_description="The event stream.",
        content_types=("text/event-stream",),
        other_responses={204: "The final event was received before; do not reconnect."},
        tag="jobs",
    )
    async def stream_events(self, request: web.Request) -> web.StreamResponse:
        """Stream the events of one job."""
        key = await authenticate(request)
        return await stream_job_events(
            request,
            self._updates,
            key.account.id,
            lambda record: to_json_dict(self._responses.build(record, request)),
        )

    async def _get_webhook_status(self, record: JobRecord) -> JobWebhookStatus | None:
        """Return the delivery status of the job's webhook with all attempts."""
        message = await self._messages.find_job_message(record.job.id)
        return to_job_webhook_status(record.job, message)

    async def _get_own_job(self, request: web.Request) -> JobRecord:
        key = await authenticate(request, is_poll=request.method in READ_METHODS)
        return note_job(request, await self._jobs.get_job(key.account.id, request.match_info["id"]))


def parse_shard_index(request: web.Request, record: JobRecord) -> int:
    """Return the number in the path of one of the job's results. Raises NotFound."""
    text = request.match_info["index"]
    if text.isascii() and text.isdigit() and len(text) < 4 and int(text) < len(record.shards):
        return int(text)
    raise NotFound(
        f"Job {record.job.id!r} has no result {text[:20]!r}: they are counted from 0 to"
        f" {len(record.shards) - 1}",
        code="output_not_found",
    )


def parse_status(request: web.Request) -> JobStatus | None:
    """Return the status given by the query parameter `status`. Raises InvalidRequest."""
    text = request.query.get("status")
    if text is None:
        return None
    statuses_by_name = {str(name): status for status, name in JOB_STATUS_NAMES.items()}
    if text not in statuses_by_name:
        raise invalid_field("status", f"must be one of {', '.join(statuses_by_name)} (got {text[:40]!r})")
    return statuses_by_name[text]

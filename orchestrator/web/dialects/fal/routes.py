"""Routes of fal's API: run an app and wait, stream it, or submit it to the queue."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from orchestrator.errors import NotAuthenticated, NotFound, invalid_field
from orchestrator.intake.model_names import errors_name_model
from orchestrator.jobs import JobRecord
from orchestrator.store import ApiKey, ApiKeyScope
from orchestrator.web.auth import authenticate, bearer_token
from orchestrator.web.dialects.fal import apps
from orchestrator.web.dialects.fal import translation as fal
from orchestrator.web.dialects.fal.schemas import CancelResponse, FalInput, FalQueueStatus, FalResult
from orchestrator.web.dialects.fal.streams import stream_request, stream_status
from orchestrator.web.dialects.fal.views import FalViews
from orchestrator.web.dialects.ids import job_id_from_uuid, job_id_to_uuid
from orchestrator.web.http.bodies import read_json
from orchestrator.web.http.embedded_files import EmbeddedFiles
from orchestrator.web.http.response_model import json_response
from orchestrator.web.jobs.first_looks import FirstLooks
from orchestrator.web.jobs.job_updates import JobUpdates
from orchestrator.web.jobs.pending_responses import submit_job
from orchestrator.web.jobs.wait_for_result import (
    cancel_on_disconnect,
    job_headers,
    note_job,
    parse_idempotency_key,
)
from orchestrator.web.openapi.operation import Access, ParameterSpec, openapi_operation
from orchestrator.web.protocols import GenerationApi

#: Paths of apps: `owner/name`, and what follows. The other paths below `/fal` are none.
APP = r"{app:(?!queue/|storage/|\.well-known/)[\w./-]+}"
QUEUED_APP = r"{app:(?!.*/requests/)[\w./-]+}"
BASE_APP = r"{app:[\w./-]+?}"
ID_HEADER = "X-Fal-Request-Id"
#: How long the first look at a new request is held, unless it finishes: clients pause 100 ms after it.
FIRST_LOOK_SECONDS = 0.2
_SCHEME = re.compile(r"key\s+(?P<token>\S+)", re.IGNORECASE)
LOGS = {"logs": ParameterSpec({"type": "string"}, "`1` or `true`: with the log.")}
HEADERS = {
    fal.TIMEOUT_HEADER: ParameterSpec(
        {"type": "string"}, "Seconds within which the run must start; otherwise it fails with 504."
    ),
    fal.PRIORITY_HEADER: ParameterSpec({"type": "string"}, "`normal` or `low`; has no effect."),
}
WEBHOOK = {"fal_webhook": ParameterSpec({"type": "string"}, "URL that is called when it is finished.")}


async def authenticate_fal(request: web.Request, scope: ApiKeyScope, *, is_poll: bool = False) -> ApiKey:
    """Return the API key of `Authorization: Key pk-...`, or of a bearer token. Raises as `authenticate`."""
    found = _SCHEME.fullmatch(request.headers.get("Authorization", "").strip())
    # The clients join an id and a secret of two variables by a colon.
    token = found["token"].rpartition(":")[2] if found else bearer_token(request)
    if not token:
        raise NotAuthenticated(
            "Missing API key: send it as `Authorization: Key pk-...`", code="missing_api_key"
        )
    return await authenticate(request, scope, token=token, is_poll=is_poll)


class FalRoutes:
    """Apps and the caller's requests."""

    def __init__(self, service: GenerationApi, views: FalViews, updates: JobUpdates) -> None:
        self._service = service
        self._views = views
        self._updates = updates
        self._first_looks = FirstLooks(service, FIRST_LOOK_SECONDS)

    def routes(self) -> list[web.RouteDef]:
        request = f"/fal/queue/{BASE_APP}/requests/{{id}}"
        return [
            web.post(f"/fal/{APP}", self.run),
            web.post(f"/fal/queue/{QUEUED_APP}", self.submit),
            web.get(request, self.get_result),
            web.get(f"{request}/status", self.get_status),
            web.get(f"{request}/status/stream", self.stream_status),
            web.put(f"{request}/cancel", self.cancel),
        ]

    @openapi_operation(
        body=FalInput,
        response=FalResult,
        headers=HEADERS,
        content_types=("application/json", "text/event-stream"),
        access=Access.FAL,
        creates_job=True,
        tag="fal",
    )
    async def run(self, request: web.Request) -> web.StreamResponse:
        """Run an app and wait for its result.

        `app` is an id of fal's such as `fal-ai/flux/schnell`, or `pixel-factory/ID` for every model of
        `GET /v1/models`. Below `/stream`, unfinished images are sent as server-sent events.
        """
        app = request.match_info["app"].rstrip("/")
        is_stream = app.endswith(apps.STREAM_SUFFIX)
        record = await self._create(request, app.removesuffix(apps.STREAM_SUFFIX), is_queued=False)
        if is_stream:
            return await stream_request(request, record, self._service, self._updates, self._views)
        async with cancel_on_disconnect(self._service, record):
            record = fal.require_result(await self._service.wait_for_job(record.job.id))
        return await self._respond_with_result(request, record)

    @openapi_operation(
        body=FalInput,
        response=FalQueueStatus,
        headers=HEADERS,
        query=WEBHOOK,
        access=Access.FAL,
        creates_job=True,
        tag="fal",
    )
    async def submit(self, request: web.Request) -> web.Response:
        """Create a request in the queue of an app.

        Poll `status_url`, follow it, or name a receiver in `fal_webhook`.
        """
        app = request.match_info["app"].strip("/")
        record = await self._create(
            request, app, is_queued=True, webhook_url=request.query.get("fal_webhook")
        )
        self._first_looks.expect(record.job.id)
        status = self._views.status(record, request, self._updates, with_logs=False)
        return json_response(status, headers=_headers(record))

    @openapi_operation(response=FalQueueStatus, query=LOGS, access=Access.FAL, tag="fal")
    async def get_status(self, request: web.Request) -> web.Response:
        """Get the state of a request.

        202 until it is completed. The first look at a new request waits a moment for its end.
        """
        with_logs = _parse_logs(request)
        record = await self._first_looks.wait(await self._get_own(request))
        status = self._views.status(record, request, self._updates, with_logs=with_logs)
        code = 200 if record.job.is_finished else 202
        return json_response(status, status=code, headers=_headers(record))

    @openapi_operation(
        query=LOGS,
        access=Access.FAL,
        content_types=("text/event-stream",),
        response_description="The event stream.",
        tag="fal",
    )
    async def stream_status(self, request: web.Request) -> web.StreamResponse:
        """Stream the states of a request until it is completed."""
        with_logs = _parse_logs(request)
        record = await self._get_own(request)
        self._first_looks.forget(record.job.id)
        return await stream_status(request, record, self._updates, self._views, with_logs=with_logs)

    @openapi_operation(response=FalResult, access=Access.FAL, tag="fal")
    async def get_result(self, request: web.Request) -> web.StreamResponse:
        """Get the result of a completed request.

        400 while it is in progress; the error of a request that failed.
        """
        record = await self._get_own(request)
        return await self._respond_with_result(request, fal.require_result(record))

    @openapi_operation(response=CancelResponse, status=202, access=Access.FAL, tag="fal")
    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel a request.

        400 with the status ALREADY_COMPLETED once it is finished.
        """
        record = await self._get_own(request, ApiKeyScope.GENERATE)
        if record.job.is_finished:
            body: dict[str, Any] = {"status": "ALREADY_COMPLETED", "detail": "The request is completed"}
            body |= {"message": body["detail"], "error_type": "already_completed"}
            return web.json_response(body, status=400, headers=_headers(record))
        record = await self._service.cancel_job(record.job.id)
        return json_response(
            CancelResponse(status="CANCELLATION_REQUESTED"), status=202, headers=_headers(record)
        )

    async def _create(
        self, request: web.Request, app: str, *, is_queued: bool, webhook_url: str | None = None
    ) -> JobRecord:
        """Create the job of a request. Raises as `GenerationService.submit` does."""
        key = await authenticate_fal(request, ApiKeyScope.GENERATE)
        catalog = self._service.catalog_for(key)
        name = apps.find_model_name(catalog, app)
        fields = await read_json(request) if request.can_read_body else {}
        with errors_name_model(name, catalog):
            generation = fal.to_request(
                app,
                name,
                fields,
                catalog,
                idempotency_key=parse_idempotency_key(request),
                webhook_url=webhook_url,
                headers=request.headers,
                is_queued=is_queued,
            )
        return await submit_job(request, self._service, key, generation, waits_for_result=not is_queued)

    async def _respond_with_result(self, request: web.Request, record: JobRecord) -> web.StreamResponse:
        embedded = EmbeddedFiles()
        result = await self._views.result(record, request, embedded)
        return await embedded.to_response(result, headers=_headers(record))

    async def _get_own(self, request: web.Request, scope: ApiKeyScope = ApiKeyScope.READ) -> JobRecord:
        """Return the request in the path. Raises NotFound, Gone."""
        key = await authenticate_fal(request, scope, is_poll=scope is ApiKeyScope.READ)
        not_found = NotFound("The account has no request with this id", code="request_not_found")
        try:
            job_id = job_id_from_uuid(request.match_info["id"])
            record = await self._service.get_job(key.account.id, job_id)
        except NotFound as error:
            raise not_found from error
        app = fal.app_of(record.job)
        if app is None or not apps.is_app_of(request.match_info["app"].strip("/"), app):
            raise not_found
        return note_job(request, record)


def _headers(record: JobRecord) -> dict[str, str]:
    return job_headers(record) | {ID_HEADER: job_id_to_uuid(record.job.id)}


def _parse_logs(request: web.Request) -> bool:
    """Return whether the log is asked for. Raises InvalidRequest."""
    text = request.query.get("logs", "0")
    if text.lower() not in ("0", "1", "true", "false"):
        raise invalid_field("logs", f"must be 1, 0, true or false (got {text[:40]!r})")
    return text.lower() in ("1", "true")

"""Comfy Router: the models of the service by `PROVIDER/MODEL`, with their own parameters."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from orchestrator.catalog import Model, build_request_schema
from orchestrator.errors import InvalidRequest, NotFound, ServiceError
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.store import ApiKey
from orchestrator.web.auth import authenticate, bearer_token
from orchestrator.web.dialects.comfy.bodies import RouterBody
from orchestrator.web.dialects.comfy.errors import failed_type, to_router_error_response
from orchestrator.web.dialects.hosted_names import suggest_names
from orchestrator.web.dialects.ids import job_id_from_uuid, job_id_to_uuid
from orchestrator.web.dialects.input_image_models import refusals_name_models
from orchestrator.web.http.bodies import read_json
from orchestrator.web.jobs.first_looks import FirstLooks
from orchestrator.web.jobs.job_updates import JobUpdates
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.pending_responses import submit_job
from orchestrator.web.jobs.wait_for_result import (
    job_headers,
    note_job,
    parse_idempotency_key,
    require_success,
    wait_for_result,
)
from orchestrator.web.openapi.operation import CURSOR_PARAM, LIMIT_PARAM, ParameterSpec, openapi_operation
from orchestrator.web.protocols import GenerationApi

DIALECT_NAME = "comfy/router"
ERROR_TYPE_HEADER = "X-Comfy-Error-Type"
#: How long the first look at a new request is held, unless it finishes: clients pause half a second after it.
FIRST_LOOK_SECONDS = 2.0
DEFAULT_LIMIT, MAX_LIMIT = 20, 100
_TAG = "comfy"
#: Query parameters of Router that choose between providers; there is one here.
_PROVIDER_PARAMS = {
    name: ParameterSpec({"type": "string"}, "No effect: the service runs all models itself.")
    for name in ("model_provider", "strict_mode", "fallback_provider")
}
Handler = Callable[..., Awaitable[web.StreamResponse]]


def names_error_type(handler: Handler) -> Handler:
    """Return a handler whose errors name their type in a header, too."""

    @functools.wraps(handler)
    async def handle(self: RouterRoutes, request: web.Request) -> web.StreamResponse:
        try:
            return await handler(self, request)
        except ServiceError as error:
            _, body = to_router_error_response(error)
            error.headers = {**error.headers, ERROR_TYPE_HEADER: body.error_type}
            raise

    return handle


class RouterRoutes:
    """List models, run them, and queue requests."""

    def __init__(self, service: GenerationApi, updates: JobUpdates, delivery: OutputDelivery) -> None:
        self._service = service
        self._updates = updates
        self._delivery = delivery
        self._first_looks = FirstLooks(service, FIRST_LOOK_SECONDS)

    def routes(self) -> list[web.RouteDef]:
        model = "/v2/models/{provider}/{model}"
        return [
            web.get("/v2/models", self.list_models),
            web.get(f"{model}/openapi.json", self.get_schema),
            web.post(model, self.run),
            web.post(f"{model}/requests", self.queue),
            web.get(f"{model}/requests/{{id}}/status", self.get_status),
            web.get(f"{model}/requests/{{id}}", self.get_result),
            web.put(f"{model}/requests/{{id}}/cancel", self.cancel),
        ]

    @openapi_operation(
        query={"limit": LIMIT_PARAM, "cursor": CURSOR_PARAM},
        response=RouterBody,
        response_description="`data`, `has_more`, `limit`, and `next_cursor` unless it is the last page.",
        tag=_TAG,
    )
    @names_error_type
    async def list_models(self, request: web.Request) -> web.Response:
        """List the models as Comfy Router does."""
        key = await _authenticate(request)
        models = list(self._service.catalog_for(key))
        text = request.query.get("limit", str(DEFAULT_LIMIT))
        limit = min(int(text), MAX_LIMIT) if text.isascii() and text.isdigit() and 0 < len(text) < 6 else 0
        if limit < 1:
            raise InvalidRequest("`limit` must be an integer from 1", code="invalid_limit", param="limit")
        cursor, start = request.query.get("cursor"), 0
        if cursor:
            start = next((place for place, model in enumerate(models, 1) if model.id == cursor), -1)
            if start < 0:
                raise InvalidRequest("`cursor` is none of this list", code="invalid_cursor", param="cursor")
        page, more = models[start : start + limit], len(models) > start + limit
        body: dict[str, Any] = {"data": [_row(model) for model in page], "has_more": more, "limit": limit}
        if more:
            body["next_cursor"] = page[-1].id
        return web.json_response(body)

    @openapi_operation(
        response=RouterBody, response_description="An OpenAPI document of the model.", tag=_TAG
    )
    @names_error_type
    async def get_schema(self, request: web.Request) -> web.Response:
        """Get the parameters of a model as an OpenAPI document."""
        key = await _authenticate(request)
        text = json.dumps(_document(self._find_model(request, key)))
        etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(text=text, content_type="application/json", headers={"ETag": etag})

    @openapi_operation(
        query=_PROVIDER_PARAMS,
        response=RouterBody,
        response_description="`outputs`.",
        creates_job=True,
        tag=_TAG,
    )
    @names_error_type
    async def run(self, request: web.Request) -> web.Response:
        """Run a model and wait for its result."""
        record = await self._submit(request, waits=True)
        record = note_job(request, await wait_for_result(self._service, record))
        return self._respond(request, record)

    @openapi_operation(
        query=_PROVIDER_PARAMS,
        response=RouterBody,
        response_description="`request_id`.",
        creates_job=True,
        tag=_TAG,
    )
    @names_error_type
    async def queue(self, request: web.Request) -> web.Response:
        """Submit a request for a model to the queue."""
        record = await self._submit(request, waits=False)
        self._first_looks.expect(record.job.id)
        id = job_id_to_uuid(record.job.id)
        body = {"request_id": id, "status": "IN_QUEUE"}
        return web.json_response(body, headers={**job_headers(record), "X-Comfy-Request-Id": id})

    @openapi_operation(
        response=RouterBody, response_description="`status`, and `error_type` of a failed request.", tag=_TAG
    )
    @names_error_type
    async def get_status(self, request: web.Request) -> web.Response:
        """Get the status of a queued request.

        The first look at a new request waits up to two seconds for its end.
        """
        record = await self._first_looks.wait(await self._find(request))
        job = record.job
        names = {JobStatus.QUEUED: "IN_QUEUE", JobStatus.RUNNING: "IN_PROGRESS"}
        body: dict[str, Any] = {"status": names.get(job.status, "COMPLETED")}
        if job.status is JobStatus.QUEUED and (queued := self._updates.get_queue_position(job.id)):
            body["queue_position"] = queued.position
        if job.is_finished and job.status is not JobStatus.SUCCEEDED:
            body["error_type"] = _error_type(job)
        # Without `Retry-After`: the client's own pauses grow from half a second to five.
        return web.json_response(body, headers=job_headers(record))

    @openapi_operation(response=RouterBody, response_description="`outputs`.", tag=_TAG)
    @names_error_type
    async def get_result(self, request: web.Request) -> web.Response:
        """Get the result of a queued request."""
        record = await self._find(request)
        if not record.job.is_finished:
            raise InvalidRequest(
                "The request has not finished; ask for its status", code="in_progress", param="request_id"
            )
        return self._respond(request, require_success(record))

    @openapi_operation(
        response=RouterBody,
        response_description="`status`.",
        other_responses={409: "It has finished."},
        tag=_TAG,
    )
    @names_error_type
    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel a queued request."""
        record = await self._find(request)
        if record.job.is_finished:
            return web.json_response({"status": "ALREADY_COMPLETED"}, status=409)
        await self._service.cancel_job(record.job.id)
        return web.json_response({"status": "CANCELLATION_REQUESTED"}, status=202)

    async def _submit(self, request: web.Request, *, waits: bool) -> JobRecord:
        key = await _authenticate(request)
        model = self._find_model(request, key)
        params = await read_json(request)
        generation = GenerationRequest(
            model=model.id,
            params=params,
            idempotency_key=parse_idempotency_key(request),
            origin=DIALECT_NAME,
        )
        several = params.get("images")
        count = bool(params.get("image")) + (len(several) if isinstance(several, list) else bool(several))
        refusals = refusals_name_models(
            model,
            self._service.catalog_for(key),
            count,
            has_mask=bool(params.get("mask")),
            name_of=lambda other: f"{_provider(other)}/{other.id}",
        )
        with refusals:
            return await submit_job(request, self._service, key, generation, waits_for_result=waits)

    def _find_model(self, request: web.Request, key: ApiKey) -> Model:
        catalog, name = self._service.catalog_for(key), request.match_info["model"]
        if name not in catalog or not _is_of_path(request, catalog[name]):
            asked = f"{request.match_info['provider'][:60]}/{name[:60]}"
            guess = suggest_names(asked, (f"{_provider(one)}/{one.id}" for one in catalog)) or ";"
            raise NotFound(
                f"Model {asked} does not exist{guess} `GET /v2/models` lists all", code="model_not_found"
            )
        return catalog[name]

    async def _find(self, request: web.Request) -> JobRecord:
        """Return the job of a queued request; its model must be that of the path."""
        key = await _authenticate(request, is_poll=request.method == "GET")
        record = await self._service.get_job(key.account.id, job_id_from_uuid(request.match_info["id"]))
        if not _is_of_path(request, self._service.get_model(record.job)):
            raise NotFound("Request not found", code="job_not_found")
        return note_job(request, record)

    def _respond(self, request: web.Request, record: JobRecord) -> web.Response:
        outputs = [
            {
                "url": self._delivery.url_of(record.job.id, output.key, request),
                "content_type": output.content_type,
                "width": output.width,
                "height": output.height,
                "size_bytes": output.size,
            }
            for output in record.outputs
        ]
        id = job_id_to_uuid(record.job.id)
        body = {"request_id": id, "outputs": outputs, "seed": record.job.params.get("seed")}
        return web.json_response(body, headers={**job_headers(record), "X-Comfy-Request-Id": id})


async def _authenticate(request: web.Request, *, is_poll: bool = False) -> ApiKey:
    token = bearer_token(request) or request.headers.get("X-API-Key", "").strip() or None
    return await authenticate(request, token=token, is_poll=is_poll)


def _provider(model: Model) -> str:
    """Return the owner of a model as one part of a path."""
    return model.manifest.owner.replace("/", "-").replace(" ", "-") or "pixel-factory"


def _is_of_path(request: web.Request, model: Model) -> bool:
    """Return whether a model is the one that a path names, by its id or an alias."""
    names = (model.id, *model.aliases)
    return _provider(model) == request.match_info["provider"] and request.match_info["model"] in names


def _row(model: Model) -> dict[str, Any]:
    provider = _provider(model)
    billing = {"unit": "request", "price_class": model.price_class}
    return {"id": f"{provider}/{model.id}", "provider": provider, "model": model.id, "billing": billing}


def _document(model: Model) -> dict[str, Any]:
    schema = build_request_schema(model)
    path = f"/v2/models/{_provider(model)}/{model.id}"
    content = {"application/json": {"schema": schema}}
    return {
        "openapi": "3.1.0",
        "info": {"title": model.name, "version": model.digest[:12]},
        "paths": {
            path: {"post": {"requestBody": {"content": content}, "responses": {"200": {"description": ""}}}}
        },
    }


def _error_type(job: Job) -> str:
    if job.status is JobStatus.CANCELLED:
        return "cancelled"
    return failed_type(job.error.code if job.error else "")

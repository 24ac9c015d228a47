"""`POST .../images/generations`: one request, one answer, with the files in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from orchestrator.errors import GenerationFailed, InvalidRequest, Unavailable
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.service import GenerationRequest, Service
from orchestrator.store import Scope
from orchestrator.web.auth import authenticate
from orchestrator.web.bodies import is_form, read_fields
from orchestrator.web.delivery import Delivery
from orchestrator.web.dialects import pixel_factory
from orchestrator.web.jobs import job_view

JOB = "X-PixelFactory-Job"
SIMULATED = "X-PixelFactory-Simulated"
MAX_IDEMPOTENCY_KEY = 255


class Generations:
    """Images and videos in OpenAI's manner."""

    def __init__(self, service: Service, delivery: Delivery) -> None:
        self._service = service
        self._delivery = delivery

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v1/images/generations", self.generate),
            web.post("/v1/images/generations", self.generate),
            web.post("/api/v1/quote", self.quote),
            web.get("/api/v1/images/models", self.models),
            web.options("/api/v1/images/models", self.models),
            web.get("/api/v1/models", self.models),
            web.get("/v1/models", self.models),
            web.get("/v1/models/{id}", self.model),
            web.get("/api/v1/models/{id}", self.model),
        ]

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """Waits for the result, or answers 202 at once to `Prefer: respond-async`."""
        key = await authenticate(request, self._service.store)
        fields = await read_fields(request)
        urls = pixel_factory.wants_url(fields)
        asked = _to_request(request, fields)
        record = await self._service.submit(key, asked)
        if "respond-async" in request.headers.get("Prefer", ""):
            body = job_view(record, self._delivery)
            return web.json_response(body, status=202, headers={JOB: record.job.id})
        record = await self._result(record, asked)
        model = self._service.catalog[record.job.model]
        data = await self._delivery.items(record.outputs, urls=urls)
        if not urls:
            await self._service.count_sent(record)
        answer = pixel_factory.to_response(record, model, data)
        text = await asyncio.to_thread(json.dumps, answer)
        headers = {JOB: record.job.id} | ({SIMULATED: "true"} if record.simulated else {})
        return web.Response(text=text, content_type="application/json", headers=headers)

    async def quote(self, request: web.Request) -> web.Response:
        """The price of a generation's body."""
        await authenticate(request, self._service.store, Scope.GENERATE, Scope.READ)
        order = await self._service.quote(_to_request(request, await read_fields(request)))
        body = {
            "model": order.model.id,
            "cost_usd": order.quote.usd,
            "cost_cents": order.quote.cents,
            "minimum_applied": order.quote.minimum_applied,
        }
        return web.json_response(body)

    async def models(self, request: web.Request) -> web.Response:
        """The list of models, for everybody and for browsers of any origin."""
        headers = {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "GET, OPTIONS",
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
        }
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=headers)
        body = pixel_factory.to_models(self._service.catalog, self._service.tariff)
        return web.json_response(body, headers=headers)

    async def model(self, request: web.Request) -> web.Response:
        model = self._service.catalog[request.match_info["id"]]
        return web.json_response(pixel_factory.to_model(model, self._service.tariff))

    async def _result(self, record: JobRecord, asked: GenerationRequest) -> JobRecord:
        """The job once it has succeeded. Raises GenerationFailed, Unavailable.

        A caller who goes away, or whom we can not serve to the end, gives the job up, unless an
        idempotency key says that it will ask again.
        """
        try:
            record = await self._service.wait(record.job.id)
        except (asyncio.CancelledError, Unavailable):
            if asked.idempotency_key is None:
                await asyncio.shield(self._service.cancel(record.job.id))
            raise
        if record.job.status is JobStatus.SUCCEEDED:
            return record
        if record.job.error:
            raise GenerationFailed(record.job.error.message, code=record.job.error.code)
        raise GenerationFailed("The job was cancelled", code="cancelled")


def _to_request(request: web.Request, fields: Mapping[str, Any]) -> GenerationRequest:
    idempotency_key = request.headers.get("Idempotency-Key")
    if idempotency_key is not None and not 0 < len(idempotency_key) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidRequest(
            f"`Idempotency-Key` must have 1 to {MAX_IDEMPOTENCY_KEY} characters",
            code="invalid_idempotency_key",
            param="Idempotency-Key",
        )
    form = is_form(request)
    return pixel_factory.to_request(fields, form=form, idempotency_key=idempotency_key)

"""Pictures and films in one answer: `images/generations`, `images/edits`, `images/variations`, and quotes."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import JobRecord
from orchestrator.service import GenerationService
from orchestrator.store import ApiKeyScope
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.openai import images as openai
from orchestrator.web.dialects.openai.preview_stream import ImageStreamResponder
from orchestrator.web.dialects.openai.schemas import ImagesResponse, QuoteResponse
from orchestrator.web.dialects.openai.stream_events import EventPrefix
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.http.bodies import is_form, read_fields
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.views import to_job_response
from orchestrator.web.jobs.wait_for_result import job_headers, parse_idempotency_key, wait_for_result
from orchestrator.web.openapi.operation import openapi_operation

#: Answers may be streams; with `Prefer: respond-async` they come at once.
JSON_OR_EVENT_STREAM = ("application/json", "text/event-stream")
ACCEPTED_RESPONSE = {202: "The job is accepted, and shown as it is: `Prefer: respond-async` was asked for."}


class ImageRoutes:
    """Images and videos in OpenAI's manner."""

    def __init__(self, service: GenerationService, delivery: OutputDelivery) -> None:
        self._service = service
        self._delivery = delivery

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.post(f"{root}/images/generations", self.create_generation) for root in ("/api/v1", "/v1")),
            *(web.post(f"{root}/images/edits", self.create_edit) for root in ("/api/v1", "/v1")),
            *(web.post(f"{root}/images/variations", self.create_variation) for root in ("/api/v1", "/v1")),
            web.post("/api/v1/quote", self.quote),
        ]

    @openapi_operation(
        body=pixel_factory.ImageGenerationBody,
        accepts_form=True,
        response=ImagesResponse,
        content_types=JSON_OR_EVENT_STREAM,
        creates_job=True,
        other_responses=ACCEPTED_RESPONSE,
    )
    async def create_generation(self, request: web.Request) -> web.StreamResponse:
        """Waits for the result, or answers 202 at once to `Prefer: respond-async`."""
        key = await authenticate(request, self._service.store)
        body, asked = await self._read_generation_request(request)
        record = await self._service.submit(key, asked)
        return await self._build_response(request, record, body, "image_generation")

    @openapi_operation(
        body=openai.ImageEditBody,
        accepts_form=True,
        response=ImagesResponse,
        content_types=JSON_OR_EVENT_STREAM,
        creates_job=True,
        other_responses=ACCEPTED_RESPONSE,
    )
    async def create_edit(self, request: web.Request) -> web.StreamResponse:
        """A picture, or several, changed as the prompt says; with a mask only there."""
        key = await authenticate(request, self._service.store)
        fields, form = await read_fields(request), is_form(request)
        body = openai.parse_body(openai.ImageEditBody, fields, form=form)
        asked = openai.to_edit_request(
            body, self._service.catalog, form=form, idempotency_key=parse_idempotency_key(request)
        )
        record = await self._service.submit(key, asked)
        return await self._build_response(request, record, body, "image_edit")

    @openapi_operation(
        body=openai.ImageVariationBody,
        accepts_form=True,
        response=ImagesResponse,
        content_types=JSON_OR_EVENT_STREAM,
        creates_job=True,
        other_responses=ACCEPTED_RESPONSE,
    )
    async def create_variation(self, request: web.Request) -> web.StreamResponse:
        """Other pictures like this one."""
        key = await authenticate(request, self._service.store)
        fields, form = await read_fields(request), is_form(request)
        body = openai.parse_body(openai.ImageVariationBody, fields, form=form)
        asked = openai.to_variation_request(
            body, self._service.catalog, form=form, idempotency_key=parse_idempotency_key(request)
        )
        record = await self._service.submit(key, asked)
        return await self._build_response(request, record, body, "image_edit")

    @openapi_operation(
        body=pixel_factory.ImageGenerationBody, accepts_form=True, response=QuoteResponse, tag="images"
    )
    async def quote(self, request: web.Request) -> web.Response:
        """The price of a generation's body."""
        await authenticate(request, self._service.store, ApiKeyScope.GENERATE, ApiKeyScope.READ)
        _, asked = await self._read_generation_request(request)
        order = await self._service.quote(asked)
        body = {
            "model": order.model.id,
            "cost_usd": order.quote.usd,
            "cost_cents": order.quote.cents,
            "minimum_applied": order.quote.minimum_applied,
        }
        return web.json_response(body)

    async def _read_generation_request(
        self, request: web.Request
    ) -> tuple[pixel_factory.ImageGenerationBody, GenerationRequest]:
        fields, form = await read_fields(request), is_form(request)
        body = openai.parse_body(pixel_factory.ImageGenerationBody, fields, form=form)
        asked = pixel_factory.to_request(
            body, self._service.catalog, form=form, idempotency_key=parse_idempotency_key(request)
        )
        return body, asked

    async def _build_response(
        self,
        request: web.Request,
        record: JobRecord,
        body: openai.ImageRequestBody,
        event_prefix: EventPrefix,
    ) -> web.StreamResponse:
        if "respond-async" in request.headers.get("Prefer", ""):
            view = to_job_response(record, self._delivery)
            return web.json_response(view, status=202, headers=job_headers(record))
        if body.stream:
            return await ImageStreamResponder(
                self._service, self._delivery, body, event_prefix
            ).stream_response(request, record)
        record = await wait_for_result(self._service, record)
        data = await self._delivery.load_data_items(
            record.outputs, as_urls=body.wants_urls, encoding=body.encoding
        )
        if not body.wants_urls:
            await self._service.record_bytes_sent(record)
        answer = pixel_factory.to_response(record, self._service.get_model(record.job), body, data)
        text = await asyncio.to_thread(json.dumps, answer)
        return web.Response(text=text, content_type="application/json", headers=job_headers(record))

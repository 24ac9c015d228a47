"""Routes of OpenAI's images API: `images/generations`, `images/edits` and `images/variations`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from orchestrator.catalog import Catalog
from orchestrator.catalog.model import MAX_IMAGES_PER_REQUEST
from orchestrator.errors import InvalidRequest
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import JobRecord
from orchestrator.jobs.events import EventHub
from orchestrator.store import ApiKey
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.openai import images as openai
from orchestrator.web.dialects.openai.image_bodies import (
    ImageEditBody,
    ImageGenerationBody,
    ImageRequestBody,
    ImageVariationBody,
)
from orchestrator.web.dialects.openai.preview_stream import ImageStreamResponder
from orchestrator.web.dialects.openai.schemas import ImagesResponse
from orchestrator.web.dialects.openai.stream_events import EventPrefix
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.dialects.request_body import parse_body
from orchestrator.web.http.bodies import is_form, read_fields
from orchestrator.web.http.embedded_files import EmbeddedFiles
from orchestrator.web.http.response_model import json_response
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.pending_responses import submit_job
from orchestrator.web.jobs.schemas import to_job_fields
from orchestrator.web.jobs.wait_for_result import job_headers, parse_idempotency_key, wait_for_result
from orchestrator.web.openapi.operation import openapi_operation
from orchestrator.web.protocols import Clock, GenerationApi

#: Most images of a request to OpenAI's paths, `/v1/images/...`.
MAX_OPENAI_IMAGES = 10
#: A response is JSON, or a stream of events if the body sets `stream`.
JSON_OR_EVENT_STREAM = ("application/json", "text/event-stream")
ACCEPTED_RESPONSE = {202: "The queued job; sent at once if the request has `Prefer: respond-async`."}


class ImageRoutes:
    """OpenAI's images API; a model that makes videos may be used too."""

    def __init__(
        self,
        service: GenerationApi,
        delivery: OutputDelivery,
        *,
        events: EventHub,
        clock: Clock,
    ) -> None:
        self._service = service
        self._events = events
        self._clock = clock
        self._delivery = delivery

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.post(f"{root}/images/generations", self.create_generation) for root in ("/api/v1", "/v1")),
            *(web.post(f"{root}/images/edits", self.create_edit) for root in ("/api/v1", "/v1")),
            *(web.post(f"{root}/images/variations", self.create_variation) for root in ("/api/v1", "/v1")),
        ]

    @openapi_operation(
        body=ImageGenerationBody,
        accepts_form=True,
        response=ImagesResponse,
        content_types=JSON_OR_EVENT_STREAM,
        creates_job=True,
        other_responses=ACCEPTED_RESPONSE,
    )
    async def create_generation(self, request: web.Request) -> web.StreamResponse:
        """Create images or a video from a prompt.

        Waits for the result, unless the request has `Prefer: respond-async`. With `stream`, the response is a
        stream of server-sent events with unfinished images.
        """
        key = await authenticate(request)
        body, generation_request = to_generation_request(
            request, await read_fields(request), self._service.catalog_for(key)
        )
        record = await self._submit(request, key, generation_request)
        return await self._build_response(request, record, body, "image_generation")

    @openapi_operation(
        body=ImageEditBody,
        accepts_form=True,
        response=ImagesResponse,
        content_types=JSON_OR_EVENT_STREAM,
        creates_job=True,
        other_responses=ACCEPTED_RESPONSE,
    )
    async def create_edit(self, request: web.Request) -> web.StreamResponse:
        """Edit images as a prompt describes.

        With a `mask`, only its transparent area changes. Without a `model`, the service chooses one that
        accepts the images and the mask.
        """
        key = await authenticate(request)
        fields, form = await read_fields(request), is_form(request)
        parameters = self._service.catalog_for(key).parameters_of(fields.get("model"))
        body = parse_body(ImageEditBody, fields, form=form, parameters=parameters)
        generation_request = openai.to_edit_request(
            body, self._service.catalog_for(key), form=form, idempotency_key=parse_idempotency_key(request)
        )
        record = await self._submit(request, key, generation_request)
        return await self._build_response(request, record, body, "image_edit")

    @openapi_operation(
        body=ImageVariationBody,
        accepts_form=True,
        response=ImagesResponse,
        content_types=JSON_OR_EVENT_STREAM,
        creates_job=True,
        other_responses=ACCEPTED_RESPONSE,
    )
    async def create_variation(self, request: web.Request) -> web.StreamResponse:
        """Create variations of an image.

        Takes an image and no prompt.
        """
        key = await authenticate(request)
        fields, form = await read_fields(request), is_form(request)
        parameters = self._service.catalog_for(key).parameters_of(fields.get("model"))
        body = parse_body(ImageVariationBody, fields, form=form, parameters=parameters)
        generation_request = openai.to_variation_request(
            body, self._service.catalog_for(key), form=form, idempotency_key=parse_idempotency_key(request)
        )
        record = await self._submit(request, key, generation_request)
        return await self._build_response(request, record, body, "image_edit")

    async def _submit(self, request: web.Request, key: ApiKey, generation: GenerationRequest) -> JobRecord:
        generation = replace(generation, max_images=_max_images(request))
        try:
            return await submit_job(
                request, self._service, key, generation, waits_for_result=not _wants_job_only(request)
            )
        except InvalidRequest as error:
            raise _name_larger_limit(error, request, generation) from error

    async def _build_response(
        self, request: web.Request, record: JobRecord, body: ImageRequestBody, event_prefix: EventPrefix
    ) -> web.StreamResponse:
        """Return the queued job, a stream of events or the finished result, as the request asks for."""
        if _wants_job_only(request):
            job = to_job_fields(record, self._delivery, request)
            return json_response(job, status=202, headers=job_headers(record))
        if body.stream:
            responder = ImageStreamResponder(
                self._service,
                self._delivery,
                body,
                event_prefix,
                events=self._events,
                clock=self._clock,
            )
            return await responder.stream_response(request, record)
        record = await wait_for_result(self._service, record)
        model, headers = self._service.get_model(record.job), job_headers(record)
        if body.wants_urls:
            keys = await self._delivery.store_files(record, encoding=body.encoding)
            links = [{"url": self._delivery.url_of(record.job.id, key, request)} for key in keys]
            return json_response(pixel_factory.to_response(record, model, body, links), headers=headers)
        files = await self._delivery.load_files(record, encoding=body.encoding)
        self._service.record_bytes_sent(record)
        embedded = EmbeddedFiles()
        texts = [{"b64_json": embedded.add(file)} for file in files]
        images = pixel_factory.to_response(record, model, body, texts)
        return await embedded.to_response(images, headers=headers)


def to_generation_request(
    request: web.Request, fields: Mapping[str, Any], catalog: Catalog
) -> tuple[ImageGenerationBody, GenerationRequest]:
    """Translate the fields of a generation's body. Raises InvalidRequest."""
    form = is_form(request)
    parameters = catalog.parameters_of(fields.get("model"))
    body = parse_body(ImageGenerationBody, fields, form=form, parameters=parameters)
    return body, pixel_factory.to_request(
        body, catalog, form=form, idempotency_key=parse_idempotency_key(request)
    )


def _max_images(request: web.Request) -> int:
    """Return the most images of a request: OpenAI's API allows more than the Pixel Factory document."""
    return MAX_OPENAI_IMAGES if request.path.startswith("/v1/") else MAX_IMAGES_PER_REQUEST


def _name_larger_limit(
    error: InvalidRequest, request: web.Request, generation: GenerationRequest
) -> InvalidRequest:
    """Return the error with the path that takes that many images, if there are too many for this one only."""
    n, refused = generation.params.get("n"), f"must be between 1 and {generation.max_images} "
    if not isinstance(n, int) or n > MAX_OPENAI_IMAGES or refused not in error.message:
        return error
    path = request.path.removeprefix("/api")
    return InvalidRequest(
        f"{error.message}; `POST {path}` takes up to {MAX_OPENAI_IMAGES}", code=error.code, param=error.param
    )


def _wants_job_only(request: web.Request) -> bool:
    """Whether the response is the queued job instead of its result."""
    return "respond-async" in request.headers.get("Prefer", "")

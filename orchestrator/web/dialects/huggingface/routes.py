"""The route of HuggingFace's text-to-image task."""

from __future__ import annotations

from aiohttp import web

from orchestrator.errors import InvalidRequest
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.huggingface.translation import TextToImageRequest, to_request
from orchestrator.web.http.request_model import read_request_model
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.pending_responses import submit_job
from orchestrator.web.jobs.wait_for_result import job_headers, parse_idempotency_key, wait_for_result
from orchestrator.web.openapi.operation import ParameterSpec, openapi_operation
from orchestrator.web.protocols import GenerationApi

ACCEPT = {"Accept": ParameterSpec({"type": "string"}, "image/png, image/jpeg or image/webp.")}


class HuggingFaceRoutes:
    """One image for one text."""

    def __init__(self, service: GenerationApi, delivery: OutputDelivery) -> None:
        self._service = service
        self._delivery = delivery

    def routes(self) -> list[web.RouteDef]:
        return [web.post(r"/hf/{model:[\w./-]+}", self.create_image)]

    @openapi_operation(
        body=TextToImageRequest,
        headers=ACCEPT,
        content_types=("image/png", "image/jpeg", "image/webp"),
        response_description="The image.",
        creates_job=True,
        tag="huggingface",
    )
    async def create_image(self, request: web.Request) -> web.Response:
        """Create an image, and respond with its bytes.

        `model` is a repository of HuggingFace such as `black-forest-labs/FLUX.1-schnell`, or
        `pixel-factory/ID` for every model of `GET /v1/models`.
        """
        key = await authenticate(request)
        body = await read_request_model(request, TextToImageRequest)
        catalog = self._service.catalog_for(key)
        asked = request.match_info["model"].strip("/")
        generation = to_request(
            body,
            catalog,
            asked,
            request.headers.get("Accept", ""),
            idempotency_key=parse_idempotency_key(request),
        )
        model = catalog.model_of_request(generation.model, generation.served_by)
        if not model.makes_images:
            raise InvalidRequest(f"Model {asked} does not make images", code="unsupported_model")
        record = await submit_job(request, self._service, key, generation, waits_for_result=True)
        record = await wait_for_result(self._service, record)
        output = record.outputs[0]
        data = await self._delivery.load_file(output.key)
        self._service.record_bytes_sent(record)
        return web.Response(body=data, content_type=output.content_type, headers=job_headers(record))

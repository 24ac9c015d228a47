"""Routes that only the Pixel Factory document has: prices of a request and the list of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from orchestrator.catalog import Catalog
from orchestrator.catalog.model import MAX_IMAGES_PER_REQUEST
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.store import ApiKeyScope
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.openai.image_bodies import ImageGenerationBody
from orchestrator.web.dialects.openai.image_routes import MAX_OPENAI_IMAGES, to_generation_request
from orchestrator.web.dialects.openai.video_routes import to_video_request
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.dialects.pixel_factory.schemas import ModelEntryList, QuoteResponse
from orchestrator.web.http.bodies import read_fields
from orchestrator.web.http.response_model import json_response
from orchestrator.web.openapi.operation import Access, openapi_operation
from orchestrator.web.protocols import GenerationApi
from orchestrator.web.visible_models import visible_catalog


class PixelFactoryRoutes:
    """`/api/v1/quote`, the same as `/v1/quote`, and `/api/v1/images/models`."""

    def __init__(self, service: GenerationApi) -> None:
        self._service = service

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v1/quote", self.quote),
            web.post("/v1/quote", self.quote),
            web.get("/api/v1/images/models", self.list_models),
        ]

    @openapi_operation(body=ImageGenerationBody, accepts_form=True, response=QuoteResponse, tag="images")
    async def quote(self, request: web.Request) -> web.Response:
        """Calculate the price of a generation.

        Takes the body of `POST /api/v1/images/generations` or `POST /v1/images/generations`, or with
        `seconds`, `duration` or `input_reference` that of `POST /v1/videos`; `path` of the response names the
        one that takes the body, where it is not the generation's beside the quote. Nothing is generated or
        charged.
        """
        key = await authenticate(request, ApiKeyScope.GENERATE, ApiKeyScope.READ)
        fields, catalog = await read_fields(request), self._service.catalog_for(key)
        is_video, generation_request = _to_request(request, fields, catalog)
        prepared = await self._service.quote(key, generation_request)
        quote = QuoteResponse(
            model=prepared.request.model,
            cost_usd=prepared.quote.usd,
            cost_cents=prepared.quote.cents,
            minimum_applied=prepared.quote.minimum_applied,
        )
        if prepared.model.manifest.batch > 1:
            results = prepared.params["n"] * prepared.model.manifest.batch
            quote = quote.model_copy(update={"results": results})
        path = _path_of_body(request, is_video=is_video, n=prepared.params["n"])
        if path != request.path.replace("/quote", "/images/generations"):
            quote = quote.model_copy(update={"path": path})
        return json_response(quote)

    @openapi_operation(response=ModelEntryList, access=Access.NONE, tag="models")
    async def list_models(self, request: web.Request) -> web.Response:
        """List all models with their prices.

        Needs no API key.
        """
        models = pixel_factory.to_model_list(
            await visible_catalog(request, self._service), self._service.default_tariff
        )
        return json_response(models)


def _to_request(
    request: web.Request, fields: Mapping[str, Any], catalog: Catalog
) -> tuple[bool, GenerationRequest]:
    """Return whether a body is that of a video, and its translation. Raises InvalidRequest."""
    if pixel_factory.is_video_body(fields, catalog):
        return True, to_video_request(request, fields, catalog)
    _, generation_request = to_generation_request(request, fields, catalog)
    return False, replace(generation_request, max_images=MAX_OPENAI_IMAGES)


def _path_of_body(request: web.Request, *, is_video: bool, n: int) -> str:
    """Return the path that takes a body: below the same root as the quote, if it allows that many images."""
    root = "/v1" if request.path.startswith("/v1/") or n > MAX_IMAGES_PER_REQUEST else "/api/v1"
    return f"{root}/videos" if is_video else f"{root}/images/generations"

"""The models, for everybody: one list in the words of OpenAI's and of the Pixel Factory document."""

from __future__ import annotations

from typing import NoReturn

from aiohttp import web

from orchestrator.catalog import Model
from orchestrator.errors import Forbidden, NotFound
from orchestrator.service import GenerationService
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.openai.schemas import ErrorResponse, ModelList
from orchestrator.web.dialects.openai.schemas import ModelEntry as ModelEntry
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.dialects.pixeldojo import models as pixeldojo_models
from orchestrator.web.openapi.operation import Access, openapi_operation

#: Pages of any origin may read the list.
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
}


class ModelRoutes:
    """`.../models` and `.../models/{id}`."""

    def __init__(self, service: GenerationService) -> None:
        self._service = service

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/images/models", self.list_image_models),
            web.options("/api/v1/images/models", self.answer_cors_preflight),
            web.get("/api/v1/models", self.list_models),
            web.get("/v1/models", self.list_models),
            web.get("/api/v1/models/{id}", self.get_model),
            web.get("/v1/models/{id}", self.get_model),
            web.delete("/api/v1/models/{id}", self.reject_delete),
            web.delete("/v1/models/{id}", self.reject_delete),
        ]

    @openapi_operation(response=ModelList, access=Access.NONE, tag="models")
    async def list_image_models(self, request: web.Request) -> web.Response:
        """All models, with their prices."""
        body = pixel_factory.to_model_list(self._service.catalog, self._service.default_tariff)
        return web.json_response(body, headers=CORS_HEADERS)

    @openapi_operation(response=ModelList, access=Access.NONE)
    async def list_models(self, request: web.Request) -> web.Response:
        """The same for OpenAI's clients, PixelDojo's and PixelAPI's: each reads what it knows."""
        service, prices = self._service, self._service.price_book
        body = pixel_factory.to_model_list(service.catalog, prices.default_tariff)
        for shown, model in zip(body["data"], service.catalog, strict=True):
            shown |= pixeldojo_models.to_model_fields(model, prices) | pixelapi.to_model_fields(model, prices)
        return web.json_response(body, headers=CORS_HEADERS)

    async def answer_cors_preflight(self, request: web.Request) -> web.Response:
        """What a browser asks before it asks."""
        return web.Response(status=204, headers=CORS_HEADERS)

    @openapi_operation(response=ModelEntry, access=Access.NONE)
    async def get_model(self, request: web.Request) -> web.Response:
        """One model."""
        model, prices = self._find_model(request), self._service.price_book
        body = pixel_factory.to_model_entry(model, prices.default_tariff)
        body |= pixeldojo_models.to_model_details(model, prices) | pixelapi.to_model_fields(model, prices)
        return web.json_response(body, headers=CORS_HEADERS)

    @openapi_operation(response=ErrorResponse, status=403)
    async def reject_delete(self, request: web.Request) -> NoReturn:
        """Always refused: models belong to the service."""
        await authenticate(request, self._service.store)
        model = self._find_model(request)
        raise Forbidden(f"{model.id} is the service's and not yours to delete", code="model_not_yours")

    def _find_model(self, request: web.Request) -> Model:
        name = request.match_info["id"]
        if name not in self._service.catalog:
            raise NotFound(f"Model {name[:100]!r} does not exist", code="model_not_found", param="model")
        return self._service.catalog[name]

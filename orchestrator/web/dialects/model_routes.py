"""The list of models under `/v1/models` and `/api/v1/models`, with the fields of every dialect."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, NoReturn

from aiohttp import web
from pydantic import Field

from orchestrator.catalog import Catalog, Model
from orchestrator.errors import Forbidden, InvalidRequest, NotFound
from orchestrator.intake.name_defaults import default_params
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.dialects.pixel_factory.errors import ErrorResponse
from orchestrator.web.dialects.pixel_factory.schemas import ModelEntry
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.dialects.pixelapi.schemas import PixelApiModelFields
from orchestrator.web.dialects.pixeldojo import models as pixeldojo
from orchestrator.web.dialects.pixeldojo.name_schema import schema_of_name
from orchestrator.web.dialects.pixeldojo.schemas import PixelDojoModelDetails, PixelDojoModelFields
from orchestrator.web.dialects.replicate import translation as replicate
from orchestrator.web.http.public_url import public_base_url
from orchestrator.web.http.response_model import ResponseModel, json_response
from orchestrator.web.openapi.operation import Access, openapi_operation
from orchestrator.web.protocols import ModelOffer
from orchestrator.web.visible_models import visible_catalog


class ListedModel(PixelApiModelFields, PixelDojoModelFields, ModelEntry):
    """A model with its prices, in US cents and in the credits of the dialects."""


class ModelDetails(PixelApiModelFields, PixelDojoModelDetails, ModelEntry):
    """A model with its prices and the parameters of a request."""


class ModelList(ResponseModel):
    """All models."""

    object: Literal["list"] = Field(description="Always `list`.")
    data: list[ListedModel] = Field(description="The models.")


class ModelRoutes:
    """The models for clients of all dialects; each client reads the fields that it knows."""

    def __init__(self, service: ModelOffer, public_url: str | None) -> None:
        self._service = service
        self._public_url = public_url

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/models", self.list_models),
            web.get("/v1/models", self.list_models),
            web.get("/api/v1/models/{id}", self.get_model),
            web.get("/v1/models/{id}", self.get_model),
            web.delete("/api/v1/models/{id}", self.reject_delete),
            web.delete("/v1/models/{id}", self.reject_delete),
        ]

    @openapi_operation(response=ModelList, access=Access.NONE)
    async def list_models(self, request: web.Request) -> web.Response:
        """List all models.

        Each entry has the fields of all dialects. `/v1/models` also lists the names that PixelAPI's document
        has for some of them. Replicate's clients, by their `User-Agent`, get the models as Replicate lists
        them. Needs no API key.
        """
        catalog = await visible_catalog(request, self._service)
        if request.path == "/v1/models" and _is_replicate_client(request):
            base = public_base_url(request, self._public_url)
            page = replicate.to_model_page(catalog, self._service.catalog, base)
            return json_response(page, headers={"Vary": "User-Agent"})
        offers = list(catalog.offers())
        if request.path.startswith("/v1/"):
            offers += pixelapi.documented_names(catalog)
        models = [self._to_listed_model(catalog, name, model) for name, model in offers]
        return json_response(ModelList(object="list", data=models))

    @openapi_operation(response=ModelDetails, access=Access.NONE)
    async def get_model(self, request: web.Request) -> web.Response:
        """Get a model with the parameters that it takes.

        Needs no API key.
        """
        catalog = await visible_catalog(request, self._service)
        model, prices, name = (
            _find_model(request, catalog),
            self._service.price_book,
            request.match_info["id"],
        )
        other_name = None if name == model.id else name
        # The first one of a model takes a while.
        schema = await asyncio.to_thread(schema_of_name, catalog, name)
        details = ModelDetails(
            **self._to_entry_fields(catalog, name, model),
            **dict(pixeldojo.to_model_details(model, prices, schema, other_name, catalog)),
            **dict(pixelapi.to_model_fields(model, prices, default_params(catalog.defaults_of(name), model))),
        )
        return json_response(details)

    @openapi_operation(
        response=ErrorResponse, status=403, response_description="Models cannot be deleted through the API."
    )
    async def reject_delete(self, request: web.Request) -> NoReturn:
        """Reject the deletion of a model.

        Always fails: models are managed by the operator of the service.
        """
        key = await authenticate(request)
        _find_model(request, self._service.catalog_for(key))
        name = request.match_info["id"]
        raise Forbidden(
            f"Model {name} cannot be deleted through the API; the operator manages the models",
            code="model_not_yours",
        )

    def _to_listed_model(self, catalog: Catalog, name: str, model: Model) -> ListedModel:
        prices = self._service.price_book
        other_name = None if name == model.id else name
        return ListedModel(
            **self._to_entry_fields(catalog, name, model),
            **dict(pixeldojo.to_model_fields(model, prices, other_name, catalog)),
            **dict(pixelapi.to_model_fields(model, prices, default_params(catalog.defaults_of(name), model))),
        )

    def _to_entry_fields(self, catalog: Catalog, name: str, model: Model) -> dict[str, Any]:
        tariff = self._service.default_tariff
        # An alias of one model shows the model's id; a name of several models is an entry of its own, and so
        # is one of PixelAPI's document.
        is_own_entry = bool(catalog.tasks_of(name)) or name in pixelapi.DOCUMENTED_MODELS
        if name in model.aliases and not is_own_entry:
            name = model.id
        entry = pixel_factory.to_model_entry(model, tariff, name, catalog)
        # Without the fields that were never set, so that they stay unset in the response.
        entry = pixel_factory.with_serving_models(entry, catalog, tariff)
        return {field: value for field, value in entry if field in entry.model_fields_set}


def _is_replicate_client(request: web.Request) -> bool:
    return request.headers.get("User-Agent", "").startswith(replicate.CLIENT_NAMES)


def _find_model(request: web.Request, catalog: Catalog) -> Model:
    """Return the model of the path. Raises NotFound."""
    try:
        return catalog[request.match_info["id"]]
    except InvalidRequest as error:
        raise NotFound(error.message, code=error.code, param=error.param) from error

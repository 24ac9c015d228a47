"""Models, versions, the account and the webhooks' secret, as Replicate's clients ask for them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time
from typing import Any

from aiohttp import web

from orchestrator.catalog import Catalog, Model
from orchestrator.errors import NotFound
from orchestrator.store import ApiKeyScope
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.openai.image_routes import MAX_OPENAI_IMAGES
from orchestrator.web.dialects.pixeldojo.name_schema import schema_of_name
from orchestrator.web.dialects.replicate import translation as replicate
from orchestrator.web.dialects.replicate.schemas import (
    ModelVersion,
    ModelVersionPage,
    ReplicateAccount,
    ReplicateModel,
    WebhookSecret,
)
from orchestrator.web.http.public_url import public_base_url
from orchestrator.web.http.response_model import json_response
from orchestrator.web.openapi.operation import openapi_operation
from orchestrator.web.protocols import ModelOffer
from orchestrator.webhooks.sender import SigningSecrets

#: Version of Cog whose schemas clients read as they are.
COG_VERSION = "0.16.0"
#: What an input may have for images, besides the parameters of the model.
_IMAGE_PROPERTIES: dict[str, Any] = {
    "num_outputs": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_OPENAI_IMAGES,
        "description": "Number of images.",
    },
    "output_format": {
        "type": "string",
        "enum": ["png", "jpg", "webp"],
        "description": "Format of the images; default: as the model makes them.",
    },
    "output_quality": {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "description": "Quality of a JPEG or WebP in percent; default: 100.",
    },
}


class ReplicateModelRoutes:
    """What the clients ask besides predictions."""

    def __init__(self, service: ModelOffer, secrets: SigningSecrets, public_url: str | None) -> None:
        self._service = service
        self._secrets = secrets
        self._public_url = public_url

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/models/{owner}/{name}", self.get_model),
            web.get("/v1/models/{owner}/{name}/versions", self.list_versions),
            web.get("/v1/models/{owner}/{name}/versions/{version}", self.get_version),
            web.get("/v1/account", self.get_account),
            web.get("/v1/webhooks/default/secret", self.get_webhook_secret),
        ]

    @openapi_operation(response=ReplicateModel, tag="replicate")
    async def get_model(self, request: web.Request) -> web.Response:
        """Get a model with its version."""
        catalog, target = await self._find(request)
        entry = replicate.to_model_entry(
            catalog,
            target.name,
            target.shown,
            base_url=public_base_url(request, self._public_url),
            is_public=target.name in self._service.catalog,
        )
        version = await _version(catalog, target.name)
        return json_response(ReplicateModel(**dict(entry), latest_version=version))

    @openapi_operation(response=ModelVersionPage, tag="replicate")
    async def list_versions(self, request: web.Request) -> web.Response:
        """List the versions of a model: the one that is offered."""
        catalog, target = await self._find(request)
        versions = [await _version(catalog, target.name)]
        return json_response(ModelVersionPage(previous=None, next=None, results=versions))

    @openapi_operation(response=ModelVersion, tag="replicate")
    async def get_version(self, request: web.Request) -> web.Response:
        """Get a version of a model with the schema of its input."""
        catalog, target = await self._find(request)
        version = await _version(catalog, target.name)
        if request.match_info["version"] != version.id:
            raise NotFound(
                f"{target.shown} is offered in the version {version.id} only", code="version_not_found"
            )
        return json_response(version)

    @openapi_operation(response=ReplicateAccount, tag="replicate")
    async def get_account(self, request: web.Request) -> web.Response:
        """Get the account of the API key."""
        key = await authenticate(request, ApiKeyScope.READ, ApiKeyScope.BILLING)
        account = key.account
        return json_response(
            ReplicateAccount(
                type="organization", username=account.id, name=account.name or account.id, github_url=None
            )
        )

    @openapi_operation(response=WebhookSecret, tag="replicate")
    async def get_webhook_secret(self, request: web.Request) -> web.Response:
        """Get the secret that signs webhooks.

        The same as `GET /api/v1/webhooks/secret`; it needs the scope `billing`.
        """
        key = await authenticate(request, ApiKeyScope.BILLING)
        newest, *_ = await self._secrets.get_or_create(key.account.id)
        return json_response(WebhookSecret(key=newest))

    async def _find(self, request: web.Request) -> tuple[Catalog, replicate.RunTarget]:
        """Return the model in the path. Raises NotFound."""
        key = await authenticate(request)
        catalog, path = self._service.catalog_for(key), request.match_info
        return catalog, replicate.find_model(catalog, path["owner"], path["name"])


async def _version(catalog: Catalog, name: str) -> ModelVersion:
    # The first schema of a model takes a while.
    schema = await asyncio.to_thread(schema_of_name, catalog, name)
    released = datetime.combine(catalog[name].manifest.created, time(), UTC)
    return ModelVersion(
        id=replicate.version_id(catalog, name),
        created_at=replicate.format_time(released) or "",
        cog_version=COG_VERSION,
        openapi_schema=_openapi_schema(schema, catalog[name]),
    )


def _openapi_schema(schema: dict[str, Any], model: Model) -> dict[str, Any]:
    """Return the document in which clients look for the schemas of input and output."""
    # The webhook is beside the input of a prediction.
    properties = {name: each for name, each in schema["properties"].items() if name != "webhook_url"}
    output: dict[str, Any] = {"title": "Output", "type": "string", "format": "uri"}
    if model.makes_images:
        output = {"title": "Output", "type": "array", "items": {"type": "string", "format": "uri"}}
        properties |= _IMAGE_PROPERTIES
    schema = {**schema, "properties": properties}
    return {
        "openapi": "3.0.2",
        "info": {"title": "Model", "version": "1.0.0"},
        "paths": {},
        "components": {"schemas": {"Input": {"title": "Input", **schema}, "Output": output}},
    }

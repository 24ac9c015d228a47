"""The addresses of Pixazo's gateway that make something, each a row: all that tells it from the others.

Models are looked up by name in our catalogue. The names of those that can not be had are known there only
where the operator lets one of ours stand in for them; elsewhere they are "not found or disabled".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.catalog import Catalog, Model
from orchestrator.errors import InvalidRequest
from orchestrator.web.dialects.pixazo import request_bodies as bodies
from orchestrator.web.dialects.pixazo.body_models import EndpointBody


class ResponseMode(StrEnum):
    """How an endpoint answers."""

    QUEUED = "queued"  #: 202 at once; polled, or told to a webhook
    SYNCHRONOUS = "synchronous"  #: 200 with the result
    BATCH = "batch"  #: 202 at once where there is a webhook, else the result if it comes soon


@dataclass(frozen=True, kw_only=True, slots=True)
class PixazoEndpoint:
    """One address."""

    path: str
    #: The model in answers and request ids; in our catalogue and in the price list too, unless they say else.
    id: str
    body: type[EndpointBody]
    response_mode: ResponseMode = ResponseMode.QUEUED
    catalog_id_override: str | None = None
    tariff_id_override: str | None = None

    @property
    def catalog_id(self) -> str:
        """Its name in our catalogue."""
        return self.catalog_id_override or self.id

    @property
    def tariff_id(self) -> str:
        """Its name in the price list."""
        return self.tariff_id_override or self.id

    def resolve_model(self, catalog: Catalog) -> Model:
        """What serves it. Raises InvalidRequest (`model_not_found`)."""
        try:
            return catalog[self.catalog_id]
        except InvalidRequest as error:
            raise InvalidRequest(
                f"Model '{self.id}' not found or is disabled", code=error.code, param=error.param
            ) from error


PIXAZO_ENDPOINTS = (
    PixazoEndpoint(
        path="/flux-2-pro-image-to-image-866/v1/flux-2-pro-image-to-image-request",
        id="flux-2-pro-image-to-image-866",
        body=bodies.Flux2ProEditBody,
    ),
    PixazoEndpoint(
        path="/flux-2-pro-text-to-image-799/v1/flux-2-pro-text-to-image-request",
        id="flux-2-pro-text-to-image-799",
        body=bodies.Flux2ProTextBody,
    ),
    *(
        PixazoEndpoint(
            path=f"/{id}/v1/{id.rpartition('-')[0]}-request", id=id, body=bodies.Flux2ProTrainerBody
        )
        for id in ("flux-2-pro-image-to-image-trainer-831", "flux-2-pro-text-to-image-trainer-712")
    ),
    PixazoEndpoint(
        path="/flux-kontext-restore-image/v1/flux-kontext-restore-image/generate",
        id="flux-kontext-restore-image",
        body=bodies.FluxKontextRestoreBody,
    ),
    PixazoEndpoint(
        path="/flux-2-klein-4b/v1/generateImage",
        id="flux-2-klein-4b",
        body=bodies.Flux2KleinBody,
        response_mode=ResponseMode.SYNCHRONOUS,
    ),
    PixazoEndpoint(
        path="/generateT2I",
        id="flux-2-dev",
        tariff_id_override="generateT2I",
        body=bodies.Flux2DevTextBody,
        response_mode=ResponseMode.SYNCHRONOUS,
    ),
    PixazoEndpoint(
        path="/pro1.1/v1/pro1.1ultra/generateRequest",
        id="flux-pro-1-1",
        tariff_id_override="pro1.1",
        body=bodies.Flux11ProUltraBody,
    ),
    PixazoEndpoint(
        path="/flux-1-schnell/v1/getData",
        id="flux-1-schnell",
        body=bodies.FluxSchnellBody,
        response_mode=ResponseMode.SYNCHRONOUS,
    ),
    PixazoEndpoint(
        path="/flux-1-schnell/v1/getDataBatch",
        id="flux-1-schnell",
        body=bodies.FluxSchnellBatchBody,
        response_mode=ResponseMode.BATCH,
    ),
    PixazoEndpoint(
        path="/flux-pro/v1/pro/textToImage",
        id="flux-pro",
        body=bodies.FluxProTextBody,
    ),
    PixazoEndpoint(
        path="/flux-dev/v1/dev/imageToImage",
        id="flux-dev",
        catalog_id_override="flux-dev-image-to-image",
        body=bodies.FluxDevEditBody,
    ),
    PixazoEndpoint(
        path="/flux-dev/v1/dev/textToImage",
        id="flux-dev",
        body=bodies.FluxDevTextBody,
    ),
    PixazoEndpoint(
        path="/flux-fill-dev/v1/flux-fill/generate",
        id="flux-fill-dev",
        body=bodies.FluxFillBody,
    ),
)
#: Models of the gateway whose requests are asked after by `checkStatus`.
BATCH_MODEL_IDS = frozenset(
    endpoint.id for endpoint in PIXAZO_ENDPOINTS if endpoint.response_mode is ResponseMode.BATCH
)

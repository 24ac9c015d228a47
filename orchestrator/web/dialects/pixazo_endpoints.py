"""The addresses of Pixazo's gateway that make something, each a row: all that tells it from the others.

Models are looked up by name in our catalogue. The names of those that can not be had are known there only
where the operator lets one of ours stand in for them; elsewhere they are "not found or disabled".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.catalog import Catalog, Model
from orchestrator.errors import InvalidRequest
from orchestrator.web.dialects import pixazo_bodies as bodies
from orchestrator.web.dialects.pixazo_forms import Gateway


class Manner(StrEnum):
    """How an endpoint answers."""

    QUEUED = "queued"  #: 202 at once; polled, or told to a webhook
    SYNCHRONOUS = "synchronous"  #: 200 with the result
    BATCH = "batch"  #: 202 at once where there is a webhook, else the result if it comes soon


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One address."""

    path: str
    #: The model in answers and request ids; in our catalogue and in the price list too, unless they say else.
    id: str
    body: type[Gateway]
    manner: Manner = Manner.QUEUED
    catalogued_as: str | None = None
    priced_as: str | None = None

    @property
    def model(self) -> str:
        """Its name in our catalogue."""
        return self.catalogued_as or self.id

    @property
    def price(self) -> str:
        """Its name in the price list."""
        return self.priced_as or self.id

    def model_in(self, catalog: Catalog) -> Model:
        """What serves it. Raises InvalidRequest (`model_not_found`)."""
        try:
            return catalog[self.model]
        except InvalidRequest as error:
            raise InvalidRequest(
                f"Model '{self.id}' not found or is disabled", code=error.code, param=error.param
            ) from error


ENDPOINTS = (
    Endpoint(
        path="/flux-2-pro-image-to-image-866/v1/flux-2-pro-image-to-image-request",
        id="flux-2-pro-image-to-image-866",
        body=bodies.ProEditBody,
    ),
    Endpoint(
        path="/flux-2-pro-text-to-image-799/v1/flux-2-pro-text-to-image-request",
        id="flux-2-pro-text-to-image-799",
        body=bodies.ProTextBody,
    ),
    *(
        Endpoint(path=f"/{id}/v1/{id.rpartition('-')[0]}-request", id=id, body=bodies.TrainerBody)
        for id in ("flux-2-pro-image-to-image-trainer-831", "flux-2-pro-text-to-image-trainer-712")
    ),
    Endpoint(
        path="/flux-kontext-restore-image/v1/flux-kontext-restore-image/generate",
        id="flux-kontext-restore-image",
        body=bodies.RestoreBody,
    ),
    Endpoint(
        path="/flux-2-klein-4b/v1/generateImage",
        id="flux-2-klein-4b",
        body=bodies.KleinBody,
        manner=Manner.SYNCHRONOUS,
    ),
    Endpoint(
        path="/generateT2I",
        id="flux-2-dev",
        priced_as="generateT2I",
        body=bodies.TextToImageBody,
        manner=Manner.SYNCHRONOUS,
    ),
    Endpoint(
        path="/pro1.1/v1/pro1.1ultra/generateRequest",
        id="flux-pro-1-1",
        priced_as="pro1.1",
        body=bodies.UltraBody,
    ),
    Endpoint(
        path="/flux-1-schnell/v1/getData",
        id="flux-1-schnell",
        body=bodies.SchnellBody,
        manner=Manner.SYNCHRONOUS,
    ),
    Endpoint(
        path="/flux-1-schnell/v1/getDataBatch",
        id="flux-1-schnell",
        body=bodies.BatchBody,
        manner=Manner.BATCH,
    ),
    Endpoint(
        path="/flux-pro/v1/pro/textToImage",
        id="flux-pro",
        body=bodies.ProBody,
    ),
    Endpoint(
        path="/flux-dev/v1/dev/imageToImage",
        id="flux-dev",
        catalogued_as="flux-dev-image-to-image",
        body=bodies.DevEditBody,
    ),
    Endpoint(
        path="/flux-dev/v1/dev/textToImage",
        id="flux-dev",
        body=bodies.DevTextBody,
    ),
    Endpoint(
        path="/flux-fill-dev/v1/flux-fill/generate",
        id="flux-fill-dev",
        body=bodies.FillBody,
    ),
)
#: Models of the gateway whose requests are asked after by `checkStatus`.
BATCHED = frozenset(endpoint.id for endpoint in ENDPOINTS if endpoint.manner is Manner.BATCH)

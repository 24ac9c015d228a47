"""The endpoints of Pixazo's gateway that run a model, one row each.

Models are looked up by name in our catalogue. Names of models that cannot run here resolve only if the
operator configures a stand-in; otherwise they are "not found or is disabled".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.tasks import Task
from orchestrator.errors import InvalidRequest
from orchestrator.web.dialects.pixazo import request_bodies as bodies
from orchestrator.web.dialects.pixazo.base_bodies import EndpointBody


class ResponseMode(StrEnum):
    """How an endpoint responds."""

    QUEUED = "queued"  #: 202 at once; the caller polls or receives a webhook
    SYNCHRONOUS = "synchronous"  #: 200 with the result
    BATCH = "batch"  #: 202 at once with a webhook; without one, the result if it is finished in time


@dataclass(frozen=True, kw_only=True, slots=True)
class PixazoEndpoint:
    """An endpoint that runs a model."""

    path: str
    #: The model's name in responses and request ids, and by default in our catalogue and the price list.
    id: str
    #: What the endpoint does, for the API documentation.
    summary: str
    body: type[EndpointBody]
    response_mode: ResponseMode = ResponseMode.QUEUED
    #: Chooses the model of a stand-in with a model per task.
    task: Task = Task.GENERATE
    catalog_id_override: str | None = None
    tariff_id_override: str | None = None

    @property
    def catalog_id(self) -> str:
        """The model's name in our catalogue."""
        return self.catalog_id_override or self.id

    @property
    def tariff_id(self) -> str:
        """The model's name in the price list."""
        return self.tariff_id_override or self.id

    def resolve_model(self, catalog: Catalog) -> Model:
        """Return the model that serves the endpoint. Raises InvalidRequest (`model_not_found`)."""
        try:
            return catalog.resolve(self.catalog_id, self.task)
        except InvalidRequest as error:
            raise InvalidRequest(
                f"Model '{self.id}' not found or is disabled", code=error.code, param=error.param
            ) from error


PIXAZO_ENDPOINTS = (
    PixazoEndpoint(
        path="/flux-2-pro-image-to-image-866/v1/flux-2-pro-image-to-image-request",
        id="flux-2-pro-image-to-image-866",
        summary="Edit an image with FLUX.2 Pro",
        body=bodies.Flux2ProEditBody,
        task=Task.EDIT,
    ),
    PixazoEndpoint(
        path="/flux-2-pro-text-to-image-799/v1/flux-2-pro-text-to-image-request",
        id="flux-2-pro-text-to-image-799",
        summary="Create an image with FLUX.2 Pro",
        body=bodies.Flux2ProTextBody,
    ),
    *(
        PixazoEndpoint(
            path=f"/{id}/v1/{id.rpartition('-')[0]}-request",
            id=id,
            summary="Train a LoRA with FLUX.2 Pro",
            body=bodies.Flux2ProTrainerBody,
        )
        for id in ("flux-2-pro-image-to-image-trainer-831", "flux-2-pro-text-to-image-trainer-712")
    ),
    PixazoEndpoint(
        path="/flux-kontext-restore-image/v1/flux-kontext-restore-image/generate",
        id="flux-kontext-restore-image",
        summary="Restore an image with FLUX Kontext",
        body=bodies.FluxKontextRestoreBody,
        task=Task.EDIT,
    ),
    PixazoEndpoint(
        path="/flux-2-klein-4b/v1/generateImage",
        id="flux-2-klein-4b",
        summary="Create an image with FLUX.2 Klein",
        body=bodies.Flux2KleinBody,
        response_mode=ResponseMode.SYNCHRONOUS,
    ),
    PixazoEndpoint(
        path="/generateT2I",
        id="flux-2-dev",
        tariff_id_override="generateT2I",
        summary="Create an image with FLUX.2 Dev",
        body=bodies.Flux2DevTextBody,
        response_mode=ResponseMode.SYNCHRONOUS,
    ),
    PixazoEndpoint(
        path="/pro1.1/v1/pro1.1ultra/generateRequest",
        id="flux-pro-1-1",
        tariff_id_override="pro1.1",
        summary="Create images with FLUX 1.1 Pro Ultra",
        body=bodies.Flux11ProUltraBody,
    ),
    PixazoEndpoint(
        path="/flux-1-schnell/v1/getData",
        id="flux-1-schnell",
        summary="Create an image with FLUX.1 Schnell",
        body=bodies.FluxSchnellBody,
        response_mode=ResponseMode.SYNCHRONOUS,
    ),
    PixazoEndpoint(
        path="/flux-1-schnell/v1/getDataBatch",
        id="flux-1-schnell",
        summary="Create an image with FLUX.1 Schnell in a batch",
        body=bodies.FluxSchnellBatchBody,
        response_mode=ResponseMode.BATCH,
    ),
    PixazoEndpoint(
        path="/flux-pro/v1/pro/textToImage",
        id="flux-pro",
        summary="Create images with FLUX Pro",
        body=bodies.FluxProTextBody,
    ),
    PixazoEndpoint(
        path="/flux-dev/v1/dev/imageToImage",
        id="flux-dev",
        catalog_id_override="flux-dev-image-to-image",
        summary="Edit an image with FLUX Dev",
        body=bodies.FluxDevEditBody,
        task=Task.EDIT,
    ),
    PixazoEndpoint(
        path="/flux-dev/v1/dev/textToImage",
        id="flux-dev",
        summary="Create images with FLUX Dev",
        body=bodies.FluxDevTextBody,
    ),
    PixazoEndpoint(
        path="/flux-fill-dev/v1/flux-fill/generate",
        id="flux-fill-dev",
        summary="Fill the masked area of an image with FLUX Fill Dev",
        body=bodies.FluxFillBody,
        task=Task.MASK,
    ),
)
#: Models whose requests are polled with `checkStatus`.
BATCH_MODEL_IDS = frozenset(
    endpoint.id for endpoint in PIXAZO_ENDPOINTS if endpoint.response_mode is ResponseMode.BATCH
)

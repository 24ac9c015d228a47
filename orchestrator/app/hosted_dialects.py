"""Wire the dialects of hosts of models and of the web UI: Replicate, fal, AUTOMATIC1111, HuggingFace."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from aiohttp import web

from orchestrator.app.operator_secrets import OperatorSecrets
from orchestrator.intake.uploaded_files import UploadedFiles
from orchestrator.media.inputs.input_images import ImageLimits
from orchestrator.service import GenerationService
from orchestrator.settings import Settings
from orchestrator.storage.object_store import ObjectStore
from orchestrator.url_codes import UrlCodes
from orchestrator.web.dialects.a1111.info_routes import A1111InfoRoutes
from orchestrator.web.dialects.a1111.options import KeyOptions
from orchestrator.web.dialects.a1111.routes import A1111Routes
from orchestrator.web.dialects.fal.routes import FalRoutes
from orchestrator.web.dialects.fal.signatures import FalWebhookSigner
from orchestrator.web.dialects.fal.storage import FalStorageRoutes
from orchestrator.web.dialects.fal.translation import DIALECT_NAME as FAL
from orchestrator.web.dialects.fal.views import FalViews
from orchestrator.web.dialects.huggingface.routes import HuggingFaceRoutes
from orchestrator.web.dialects.replicate.file_routes import ReplicateFileRoutes
from orchestrator.web.dialects.replicate.model_routes import ReplicateModelRoutes
from orchestrator.web.dialects.replicate.routes import ReplicateRoutes
from orchestrator.web.dialects.replicate.translation import DIALECT_NAME as REPLICATE
from orchestrator.web.dialects.replicate.views import PredictionViews
from orchestrator.web.jobs.job_updates import JobUpdates
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.webhook_payloads import HeaderBuilder, PayloadBuilder, ProgressBuilder
from orchestrator.webhooks.sender import SigningSecrets


class RouteGroup(Protocol):
    """A part of the API."""

    def routes(self) -> list[web.RouteDef]: ...


def build_hosted_dialects(
    settings: Settings,
    service: GenerationService,
    secrets: OperatorSecrets,
    delivery: OutputDelivery,
    updates: JobUpdates,
) -> tuple[RouteGroup, ...]:
    """Return the routes of these dialects."""
    objects, clock, public_url = service.object_store, service.clock, settings.public_url
    files = build_uploaded_files(secrets, objects, clock)
    limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    options = KeyOptions(objects)
    return (
        ReplicateRoutes(
            service, build_prediction_views(service, delivery, secrets), updates, files, service.store
        ),
        ReplicateModelRoutes(service, SigningSecrets(service.store, clock), public_url),
        ReplicateFileRoutes(files, public_url),
        FalRoutes(service, FalViews(models=service, delivery=delivery), updates),
        FalStorageRoutes(
            files,
            UrlCodes(secrets.session_secret, "fal upload"),
            FalWebhookSigner(secrets.session_secret),
            public_url,
        ),
        A1111Routes(service, delivery, updates, options, limits),
        A1111InfoRoutes(service, delivery, options, limits, service.request_preparer.lora_resolver),
        HuggingFaceRoutes(service, delivery),
    )


def build_uploaded_files(
    secrets: OperatorSecrets, objects: ObjectStore, clock: Callable[[], datetime]
) -> UploadedFiles:
    """Return the files that callers upload before they name them in requests."""
    codes = UrlCodes(secrets.session_secret, "uploaded file")
    return UploadedFiles(codes=codes, objects=objects, clock=clock)


def build_prediction_views(
    service: GenerationService, delivery: OutputDelivery, secrets: OperatorSecrets
) -> PredictionViews:
    """Return the builder of predictions in Replicate's format."""
    return PredictionViews(
        models=service,
        delivery=delivery,
        events=service.events,
        stream_codes=UrlCodes(secrets.session_secret, "prediction stream"),
    )


def final_payloads(
    service: GenerationService, delivery: OutputDelivery, secrets: OperatorSecrets
) -> dict[str, PayloadBuilder]:
    """Return the builders of webhooks about finished jobs, by dialect."""
    return {
        REPLICATE: build_prediction_views(service, delivery, secrets).webhook_payload,
        FAL: FalViews(models=service, delivery=delivery).webhook_payload,
    }


def progress_payloads(
    service: GenerationService, delivery: OutputDelivery, secrets: OperatorSecrets
) -> dict[str, ProgressBuilder]:
    """Return the builders of webhooks about unfinished jobs, by dialect."""
    return {REPLICATE: build_prediction_views(service, delivery, secrets).progress_payload}


def webhook_headers(secrets: OperatorSecrets) -> dict[str, HeaderBuilder]:
    """Return the builders of signatures of their own, by dialect."""
    return {FAL: FalWebhookSigner(secrets.session_secret).headers}

"""PixelDojo: a run makes a job, jobs are polled or tell a webhook, prices are in credits.

Both versions of its document name `prompt`, `aspect_ratio` and `webhook_url` and leave all else to the schema
that each model has: there the parameters of the manifest keep their names, beside those of `RunBody`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from pydantic import Field

from orchestrator.catalog import Catalog, Model
from orchestrator.errors import (
    Gone,
    InsufficientBalance,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    RateLimited,
    ServiceError,
    Unavailable,
)
from orchestrator.jobs import Job, JobRecord
from orchestrator.orders import GenerationRequest
from orchestrator.web.dialects import pixeldojo_shapes as shapes
from orchestrator.web.dialects.credits import charged, in_credits, in_utc, plain
from orchestrator.web.dialects.openai import Body
from orchestrator.web.dialects.routing import check_count, placed

TARIFF = "pixeldojo"

Picture = str


class RunBody(Body):
    """`POST /api/v1/models/{apiId}/run`. Other fields are parameters of the model's manifest."""

    prompt: str | None = Field(None, description="What the result should show.")
    aspect_ratio: str | None = Field(None, description="Shape of the result, such as 16:9.")
    resolution: str | None = Field(
        None, max_length=20, description="Size of the result, such as 720p, 1K or 0.5 MP."
    )
    duration: int | float | None = Field(None, description="Length of the video in seconds.")
    image: Picture | None = Field(None, description="Base64 text, data URL or address of a picture.")
    image_url: Picture | None = Field(None, description="The same.")
    images: list[Picture] | None = Field(None, description="Several pictures.")
    reference_images: list[Picture] | None = Field(None, description="The same.")
    lora_weights: str | list[str] | None = Field(None, description="Name of a LoRA, or several.")
    lora_scale: int | float | list[int | float] | None = Field(None, description="Strength of each; 1.")
    fps: int | None = Field(None, description="Frames per second of a video.")


def to_request(
    api_id: str, body: RunBody, catalog: Catalog, *, idempotency_key: str | None
) -> GenerationRequest:
    """What a body asks for. Raises InvalidRequest."""
    model = catalog[api_id]
    params = {name: value for name, value in body if name in model.parameters or name == "n"}
    params |= {} if params.get("width") and params.get("height") else _sides(body, model)
    params |= shapes.frames(model, body.duration, body.fps)
    params |= _pictures(body, model) | _loras(body, model)
    return GenerationRequest(
        model=api_id,
        params=params,
        idempotency_key=idempotency_key,
        tariff=TARIFF,
        webhook_url=body.webhook_url,
    )


def _sides(body: RunBody, model: Model) -> dict[str, int]:
    return shapes.sides(model, body.aspect_ratio, body.resolution)


def _pictures(body: RunBody, model: Model) -> dict[str, Any]:
    single = [picture for picture in (body.image, body.image_url) if picture is not None]
    pictures = [*single, *(body.images or ()), *(body.reference_images or ())]
    check_count(model, len(pictures))
    found = placed(model, pictures)
    return {name: found.get(name) for name in ("image", "images") if name in model.parameters}


def _loras(body: RunBody, model: Model) -> dict[str, Any]:
    if body.lora_weights is None:
        return {}
    if "loras" not in model.parameters:
        raise InvalidRequest(f"{model.id} takes no LoRA", code="unsupported_lora", param="lora_weights")
    names = body.lora_weights if isinstance(body.lora_weights, list) else [body.lora_weights]
    scale = 1.0 if body.lora_scale is None else body.lora_scale
    scales = scale if isinstance(scale, list) else [scale] * len(names)
    if len(scales) != len(names):
        raise InvalidRequest(
            "`lora_scale` must be one number, or one for each LoRA",
            code="invalid_lora_scale",
            param="lora_scale",
        )
    return {"loras": [{"name": name, "strength": each} for name, each in zip(names, scales, strict=True)]}


def to_submitted(job: Job, status: str, status_url: str, *, unit: Fraction, available: int) -> dict[str, Any]:
    """The answer to a run; `unit` (what a credit is worth) and `available` are micro-dollars."""
    return {
        "jobId": job.id,
        "status": status,
        "statusUrl": status_url,
        **credit_cost(job, unit),
        "creditsRemaining": plain(in_credits(available, unit)),
    }


def credit_cost(job: Job, unit: Fraction) -> dict[str, int | float]:
    """What a job was charged; `unit` is what a credit is worth in micro-dollars."""
    return {"creditCost": plain(in_credits(charged(job), unit))}


def job_fields(record: JobRecord, urls: Sequence[str], expires: datetime | None) -> dict[str, Any]:
    """What the documents and their samples name of a job beside id, status and output; a URL per output."""
    url = record.job.webhook_url
    return {
        "assets": [
            {
                "url": url,
                "contentType": output.content_type,
                "width": output.width,
                "height": output.height,
                "bytes": output.size,
            }
            for url, output in zip(urls, record.outputs, strict=False)
        ],
        "expiresAt": in_utc(expires) if expires else None,
        "webhook": {"url": url} if url else None,
    }


#: Code and status of the document's table, by the first class that an error belongs to.
CODES: Mapping[type[ServiceError], tuple[str, int]] = {
    NotAuthenticated: ("unauthorized", 401),
    InvalidRequest: ("validation_error", 400),
    NotFound: ("not_found", 404),
    InsufficientBalance: ("insufficient_credits", 402),
    Unavailable: ("submission_failed", 500),
    Gone: ("expired", 410),
    RateLimited: ("rate_limit_exceeded", 429),
}
#: The same by our codes, which go before.
SPECIAL: Mapping[str, tuple[str, int]] = {
    "invalid_json": ("invalid_json", 400),
    "model_not_found": ("not_found", 404),
    "internal_error": ("internal_error", 500),
}


def to_error(error: ServiceError) -> tuple[int, dict[str, Any]]:
    """`{"error": {"code", "message", ...}}`. What the document's table lacks keeps our code and status."""
    found = (entry for kind, entry in CODES.items() if isinstance(error, kind))
    code, status = SPECIAL.get(error.code) or next(found, (error.code, error.status))
    body = {"code": code, "message": error.message, "type": error.type, "param": error.param}
    return status, {"error": body | error.details}

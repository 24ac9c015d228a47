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
    ServiceUnavailable,
)
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job, JobRecord
from orchestrator.web.dialects.credits import charged_micros, format_utc, to_credits, to_json_number
from orchestrator.web.dialects.model_selection import check_image_count, to_image_params
from orchestrator.web.dialects.openai.images import RequestBody
from orchestrator.web.dialects.pixeldojo import sizes as shapes

TARIFF = "pixeldojo"

EncodedImage = str


class RunBody(RequestBody):
    """`POST /api/v1/models/{apiId}/run`. Other fields are parameters of the model's manifest."""

    prompt: str | None = Field(None, description="What the result should show.")
    aspect_ratio: str | None = Field(None, description="Shape of the result, such as 16:9.")
    resolution: str | None = Field(
        None, max_length=20, description="Size of the result, such as 720p, 1K or 0.5 MP."
    )
    duration: int | float | None = Field(None, description="Length of the video in seconds.")
    image: EncodedImage | None = Field(None, description="Base64 text, data URL or address of a picture.")
    image_url: EncodedImage | None = Field(None, description="The same.")
    images: list[EncodedImage] | None = Field(None, description="Several pictures.")
    reference_images: list[EncodedImage] | None = Field(None, description="The same.")
    lora_weights: str | list[str] | None = Field(None, description="Name of a LoRA, or several.")
    lora_scale: int | float | list[int | float] | None = Field(None, description="Strength of each; 1.")
    fps: int | None = Field(None, description="Frames per second of a video.")


def to_request(
    api_id: str, body: RunBody, catalog: Catalog, *, idempotency_key: str | None
) -> GenerationRequest:
    """What a body asks for. Raises InvalidRequest."""
    model = catalog[api_id]
    params = {name: value for name, value in body if name in model.parameters or name == "n"}
    params |= {} if params.get("width") and params.get("height") else _dimensions(body, model)
    params |= shapes.duration_to_frames(model, body.duration, body.fps)
    params |= _image_params(body, model) | _lora_params(body, model)
    return GenerationRequest(
        model=api_id,
        params=params,
        idempotency_key=idempotency_key,
        tariff=TARIFF,
        webhook_url=body.webhook_url,
    )


def _dimensions(body: RunBody, model: Model) -> dict[str, int]:
    return shapes.aspect_ratio_to_dimensions(model, body.aspect_ratio, body.resolution)


def _image_params(body: RunBody, model: Model) -> dict[str, Any]:
    single = [picture for picture in (body.image, body.image_url) if picture is not None]
    pictures = [*single, *(body.images or ()), *(body.reference_images or ())]
    check_image_count(model, len(pictures))
    found = to_image_params(model, pictures)
    return {name: found.get(name) for name in ("image", "images") if name in model.parameters}


def _lora_params(body: RunBody, model: Model) -> dict[str, Any]:
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


def to_run_response(
    job: Job, status: str, status_url: str, *, credit_micros: Fraction, available_micros: int
) -> dict[str, Any]:
    """The answer to a run; `credit_micros` (what a credit is worth) and `available_micros` are
    micro-dollars.
    """
    return {
        "jobId": job.id,
        "status": status,
        "statusUrl": status_url,
        **job_credit_cost(job, credit_micros),
        "creditsRemaining": to_json_number(to_credits(available_micros, credit_micros)),
    }


def job_credit_cost(job: Job, credit_micros: Fraction) -> dict[str, int | float]:
    """What a job was charged; `credit_micros` is what a credit is worth in micro-dollars."""
    return {"creditCost": to_json_number(to_credits(charged_micros(job), credit_micros))}


def to_job_fields(record: JobRecord, urls: Sequence[str], expires_at: datetime | None) -> dict[str, Any]:
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
        "expiresAt": format_utc(expires_at) if expires_at else None,
        "webhook": {"url": url} if url else None,
    }


#: Code and status of the document's table, by the first class that an error belongs to.
ERROR_CODES_BY_CLASS: Mapping[type[ServiceError], tuple[str, int]] = {
    NotAuthenticated: ("unauthorized", 401),
    InvalidRequest: ("validation_error", 400),
    NotFound: ("not_found", 404),
    InsufficientBalance: ("insufficient_credits", 402),
    ServiceUnavailable: ("submission_failed", 500),
    Gone: ("expired", 410),
    RateLimited: ("rate_limit_exceeded", 429),
}
#: The same by our codes, which go before.
ERROR_CODE_OVERRIDES: Mapping[str, tuple[str, int]] = {
    "invalid_json": ("invalid_json", 400),
    "model_not_found": ("not_found", 404),
    "internal_error": ("internal_error", 500),
}


def to_error_response(error: ServiceError) -> tuple[int, dict[str, Any]]:
    """`{"error": {"code", "message", ...}}`. What the document's table lacks keeps our code and status."""
    found = (entry for kind, entry in ERROR_CODES_BY_CLASS.items() if isinstance(error, kind))
    code, status = ERROR_CODE_OVERRIDES.get(error.code) or next(found, (error.code, error.status))
    body = {"code": code, "message": error.message, "type": error.type, "param": error.param}
    return status, {"error": body | error.details}

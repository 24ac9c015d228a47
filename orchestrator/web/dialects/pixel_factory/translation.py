"""The Pixel Factory document, which speaks as OpenAI's images API does, with fields of its own."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from orchestrator.catalog import Catalog, Model
from orchestrator.errors import ServiceError
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job, JobRecord
from orchestrator.web.dialects.model_selection import check_image_count, max_input_images, to_image_params
from orchestrator.web.dialects.openai.images import (
    ImageInputRequestBody,
    ImageRequestBody,
    image_response_fields,
    to_model_params,
)
from pricing.money import to_cents
from pricing.tariff import Tariff

DEFAULT_MODEL = "flux-1-schnell"

ZERO_TOKEN_USAGE: Mapping[str, Any] = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


class ImageGenerationBody(ImageInputRequestBody):
    """`POST /images/generations`: what the document and OpenAI's SDKs name. Further parameters of the model's
    manifest are taken under their names there."""

    prompt: str | None = Field(None, description="What to make; may be empty where it is not used.")
    negative_prompt: str | None = Field(None, description="What to avoid.")
    steps: int | None = Field(None, description="Number of denoising steps.")
    cfg_scale: int | float | None = Field(None, description="How closely the result follows the prompt.")
    seed: int | None = Field(None, description="Same seed and parameters, same result.")
    num_frames: int | None = Field(None, description="Video only: number of frames.")
    fps: int | None = Field(None, description="Video only: frames per second.")


def to_request(
    body: ImageGenerationBody, catalog: Catalog, *, form: bool, idempotency_key: str | None
) -> GenerationRequest:
    """What a body asks for. Raises InvalidRequest where it can not even be understood."""
    model = catalog[body.model or DEFAULT_MODEL]
    params = to_model_params(body, model, form=form)
    pictures = body.input_images()
    check_image_count(model, len(pictures) if max_input_images(model) else 0)
    params |= to_image_params(model, pictures)
    if "mask" in model.parameters:
        params |= body.mask_params()
    return GenerationRequest(
        model=model.id,
        params=params,
        idempotency_key=idempotency_key,
        webhook_url=body.webhook_url,
    )


def to_response(
    record: JobRecord, model: Model, body: ImageRequestBody, data: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """The answer to a finished generation; `data` has one item per output."""
    return {
        "created": int(record.job.created_at.timestamp()),
        "data": list(data),
        **image_response_fields(body, record.outputs),
        "usage": to_usage(record, model),
    }


def to_usage(record: JobRecord, model: Model) -> dict[str, Any]:
    """What was made and what it cost. Nothing is counted in tokens, but SDKs expect them."""
    job, outputs = record.job, record.outputs
    size = f"{outputs[0].width}x{outputs[0].height}" if outputs and outputs[0].width else None
    return {
        "model": job.model,
        "size": size,
        "n": len(outputs),
        "steps": job.params.get("steps", model.default_steps),
        "duration_ms": duration_ms(job),
        "cost_cents": to_cents(job.price),
        **ZERO_TOKEN_USAGE,
    }


def duration_ms(job: Job) -> int | None:
    """Milliseconds from the first shard's start to the last one's end."""
    if job.started_at is None or job.finished_at is None:
        return None
    return round((job.finished_at - job.started_at).total_seconds() * 1000)


def to_model_list(catalog: Catalog, tariff: Tariff) -> dict[str, Any]:
    """The list of models."""
    return {"object": "list", "data": [to_model_entry(model, tariff) for model in catalog]}


def to_model_entry(model: Model, tariff: Tariff) -> dict[str, Any]:
    """One entry of the list."""
    return {
        "id": model.id,
        "object": "model",
        "created": timegm(model.manifest.created.timetuple()),
        "owned_by": model.manifest.owner,
        "type": model.kind.value,
        "display_name": model.name,
        "architecture": model.manifest.architecture,
        "max_resolution": model.manifest.max_resolution,
        "default_steps": model.default_steps,
        "default_cfg": model.default_cfg,
        "price_per_image_cents": tariff.base_cents(model.price_class),
        "featured": model.manifest.featured,
    }


def to_error_response(error: ServiceError) -> tuple[int, dict[str, Any]]:
    """`{"error": {...}}`; OpenAI's SDKs read `param` too. Callers know width and height as `size`."""
    code, param = error.code, error.param
    if param in ("width", "height"):
        code, param = "invalid_size", "size"
    body = {"message": error.message, "type": error.type, "code": code, "param": param}
    return error.status, {"error": body | error.details}

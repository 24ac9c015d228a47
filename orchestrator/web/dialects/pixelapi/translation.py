"""PixelAPI: submit and poll, prices in credits, errors as `{"detail": ...}`.

Its document gives ranges and defaults for two models; all others keep those of their manifests. Guidance is
counted as diffusers does, where 1 and less is none at all; a graph says 1 for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from pydantic import Field

from orchestrator.billing.price_book import PriceBook
from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.errors import ContentBlocked, Gone, InvalidRequest, ServiceError
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job, JobStatus
from orchestrator.web.dialects.credits import charged_micros, format_utc, to_credits
from orchestrator.web.dialects.ids import job_id_to_uuid
from orchestrator.web.dialects.openai.images import RequestBody

TARIFF = "pixelapi"
DEFAULT_MODEL = "sdxl"
#: How long after its end a generation's file can be had.
OUTPUT_LIFETIME = timedelta(hours=24)
MIN_SIDE, MAX_SIDE, DEFAULT_SIDE = 512, 1536, 1024
GUIDANCE_DISABLED = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelLimits:
    """What the document says of a model."""

    min_steps: int
    max_steps: int
    default_steps: int
    default_guidance: float
    accepts_negative_prompt: bool


MODEL_LIMITS = {
    "sdxl": ModelLimits(
        min_steps=20, max_steps=50, default_steps=30, default_guidance=7.5, accepts_negative_prompt=True
    ),
    "flux-schnell": ModelLimits(
        min_steps=1, max_steps=8, default_steps=4, default_guidance=0.0, accepts_negative_prompt=False
    ),
}
#: The models of the document.
DOCUMENTED_MODELS = frozenset({*MODEL_LIMITS, "cogvideo-2b", "upscale-4x"})


class PixelApiGenerateBody(RequestBody):
    """`POST /v1/image/generate`. Further parameters of the model's manifest are taken under their names."""

    model: str | None = Field(None, description="Default: sdxl.")
    prompt: str | None = Field(None, description="Text description of the image.")
    negative_prompt: str | None = Field(None, description="What to avoid (SDXL only).")
    width: int | None = Field(None, description="512 to 1536, default 1024.")
    height: int | None = Field(None, description="512 to 1536, default 1024.")
    steps: int | None = Field(None, description="SDXL: 20 to 50 (default 30). FLUX: 1 to 8 (default 4).")
    guidance_scale: int | float | None = Field(None, description="Default 7.5 (SDXL), 0 (FLUX).")
    seed: int | None = Field(None, description="For reproducible results.")


def to_request(
    body: PixelApiGenerateBody, catalog: Catalog, *, idempotency_key: str | None
) -> GenerationRequest:
    """What a body asks for. Raises InvalidRequest."""
    model = catalog[body.model or DEFAULT_MODEL]
    name = api_id(model)
    params = {key: value for key, value in body if value is not None and key in model.parameters}
    if name in MODEL_LIMITS:
        params |= _documented_params(body, model, MODEL_LIMITS[name])
    if body.guidance_scale is not None:
        params["cfg_scale"] = _to_cfg_scale(body.guidance_scale)
    return GenerationRequest(
        model=name,
        params=params,
        idempotency_key=idempotency_key,
        tariff=TARIFF,
        webhook_url=body.webhook_url,
        store_blocked_job=True,
    )


def api_id(model: Model) -> str:
    """The document's name for a model that it knows, else ours."""
    return next((name for name in (model.id, *model.aliases) if name in DOCUMENTED_MODELS), model.id)


def to_model_fields(model: Model, prices: PriceBook) -> dict[str, Any]:
    """What the list of models says of one, besides what others' clients read of it."""
    return {"credits": to_credits(prices.example_quote(TARIFF, model).micros, prices.micros_per_unit(TARIFF))}


def to_submit_response(job: Job, model: Model, credit_micros: Fraction) -> dict[str, Any]:
    """The answer to a submission; `credit_micros` is what a credit is worth in micro-dollars."""
    return {
        "generation_id": job_id_to_uuid(job.id),
        "status": to_status_name(job),
        "model": api_id(model),
        "credits_used": to_credits(charged_micros(job), credit_micros),
    }


def to_generation_response(job: Job, model: str, credit_micros: Fraction, url: str | None) -> dict[str, Any]:
    """What became of a submission; `url` leads to its file, as long as there is one."""
    error = {"error": job.error.message} if job.error else {}
    return {
        "id": job_id_to_uuid(job.id),
        "status": to_status_name(job),
        "output_url": url,
        "model": model,
        "credits_used": to_credits(charged_micros(job), credit_micros),
        "created_at": format_utc(job.created_at),
        **error,
    }


def to_status_name(job: Job) -> str:
    """One of queued, processing, completed, failed, blocked."""
    if job.error is not None and job.error.code == ContentBlocked.default_code:
        return "blocked"
    return _STATUS_NAMES[job.status]


_STATUS_NAMES = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "failed",
}


def output_seconds_left(job: Job, now: datetime) -> int:
    """For how long the job's file can still be had; 0: not yet, or not any more."""
    if job.status is not JobStatus.SUCCEEDED or job.finished_at is None:
        return 0
    return max(0, int((job.finished_at + OUTPUT_LIFETIME - now).total_seconds()))


def to_error_response(error: ServiceError) -> tuple[int, dict[str, Any]]:
    """`{"detail": ...}`: 422 for what is wrong with a request, 500 for whatever is wrong with us.

    What has expired is not there: the document knows no 410.
    """
    status = 422 if isinstance(error, InvalidRequest) else 404 if isinstance(error, Gone) else error.status
    return min(status, 500), {"detail": error.message.replace("`cfg_scale`", "`guidance_scale`")}


def _documented_params(body: PixelApiGenerateBody, model: Model, limits: ModelLimits) -> dict[str, Any]:
    """The document's defaults, and what was given within its ranges."""
    steps = _check_range("steps", body.steps, limits.min_steps, limits.max_steps)
    params: dict[str, Any] = {
        "width": _dimension(model, "width", body.width),
        "height": _dimension(model, "height", body.height),
        "steps": limits.default_steps if steps is None else steps,
        "cfg_scale": _to_cfg_scale(limits.default_guidance),
    }
    return params if limits.accepts_negative_prompt else params | {"negative_prompt": None}


def _dimension(model: Model, name: str, value: int | None) -> int:
    """A side in pixels as the model takes it: the document allows any, models want multiples."""
    side = _check_range(name, value, MIN_SIDE, MAX_SIDE) or DEFAULT_SIDE
    spec = model.parameters.get(name)
    return side - side % spec.step if isinstance(spec, IntegerParameter) else side


def _to_cfg_scale(scale: float) -> float:
    if scale < 0:
        raise InvalidRequest(
            "`guidance_scale` must not be below 0", code="invalid_guidance_scale", param="guidance_scale"
        )
    return max(scale, GUIDANCE_DISABLED)


def _check_range(name: str, value: int | None, minimum: int, maximum: int) -> int | None:
    if value is not None and not minimum <= value <= maximum:
        raise InvalidRequest(
            f"`{name}` must be between {minimum} and {maximum}", code=f"invalid_{name}", param=name
        )
    return value

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

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.parameters import Integer
from orchestrator.errors import Blocked, Gone, InvalidRequest, ServiceError
from orchestrator.jobs import Job, JobStatus
from orchestrator.orders import GenerationRequest
from orchestrator.quotes import PriceLists
from orchestrator.web.dialects.credits import charged, in_credits, in_utc
from orchestrator.web.dialects.ids import as_uuid
from orchestrator.web.dialects.openai import Body

TARIFF = "pixelapi"
DEFAULT_MODEL = "sdxl"
#: How long after its end a generation's file can be had.
OUTPUT_LIFETIME = timedelta(hours=24)
MIN_SIDE, MAX_SIDE, DEFAULT_SIDE = 512, 1536, 1024
NO_GUIDANCE = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What the document says of a model."""

    min_steps: int
    max_steps: int
    steps: int
    guidance: float
    negative_prompt: bool


RULES = {
    "sdxl": Rules(min_steps=20, max_steps=50, steps=30, guidance=7.5, negative_prompt=True),
    "flux-schnell": Rules(min_steps=1, max_steps=8, steps=4, guidance=0.0, negative_prompt=False),
}
#: The models of the document.
DOCUMENTED = frozenset({*RULES, "cogvideo-2b", "upscale-4x"})


class GenerateBody(Body):
    """`POST /v1/image/generate`. Further parameters of the model's manifest are taken under their names."""

    model: str | None = Field(None, description="Default: sdxl.")
    prompt: str | None = Field(None, description="Text description of the image.")
    negative_prompt: str | None = Field(None, description="What to avoid (SDXL only).")
    width: int | None = Field(None, description="512 to 1536, default 1024.")
    height: int | None = Field(None, description="512 to 1536, default 1024.")
    steps: int | None = Field(None, description="SDXL: 20 to 50 (default 30). FLUX: 1 to 8 (default 4).")
    guidance_scale: int | float | None = Field(None, description="Default 7.5 (SDXL), 0 (FLUX).")
    seed: int | None = Field(None, description="For reproducible results.")


def to_request(body: GenerateBody, catalog: Catalog, *, idempotency_key: str | None) -> GenerationRequest:
    """What a body asks for. Raises InvalidRequest."""
    model = catalog[body.model or DEFAULT_MODEL]
    name = api_id(model)
    params = {key: value for key, value in body if value is not None and key in model.parameters}
    if name in RULES:
        params |= _ruled(body, model, RULES[name])
    if body.guidance_scale is not None:
        params["cfg_scale"] = _guidance(body.guidance_scale)
    return GenerationRequest(
        model=name,
        params=params,
        idempotency_key=idempotency_key,
        tariff=TARIFF,
        webhook_url=body.webhook_url,
        keep_blocked=True,
    )


def api_id(model: Model) -> str:
    """The document's name for a model that it knows, else ours."""
    return next((name for name in (model.id, *model.aliases) if name in DOCUMENTED), model.id)


def entry(model: Model, prices: PriceLists) -> dict[str, Any]:
    """What the list of models says of one, besides what others' clients read of it."""
    return {"credits": in_credits(prices.usual(TARIFF, model).micros, prices.unit(TARIFF))}


def to_submitted(job: Job, model: Model, unit: Fraction) -> dict[str, Any]:
    """The answer to a submission; `unit` is what a credit is worth in micro-dollars."""
    return {
        "generation_id": as_uuid(job.id),
        "status": status(job),
        "model": api_id(model),
        "credits_used": in_credits(charged(job), unit),
    }


def to_generation(job: Job, model: str, unit: Fraction, url: str | None) -> dict[str, Any]:
    """What became of a submission; `url` leads to its file, as long as there is one."""
    error = {"error": job.error.message} if job.error else {}
    return {
        "id": as_uuid(job.id),
        "status": status(job),
        "output_url": url,
        "model": model,
        "credits_used": in_credits(charged(job), unit),
        "created_at": in_utc(job.created_at),
        **error,
    }


def status(job: Job) -> str:
    """One of queued, processing, completed, failed, blocked."""
    if job.error is not None and job.error.code == Blocked.default_code:
        return "blocked"
    return _STATUSES[job.status]


_STATUSES = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "failed",
}


def seconds_left(job: Job, now: datetime) -> int:
    """For how long the job's file can still be had; 0: not yet, or not any more."""
    if job.status is not JobStatus.SUCCEEDED or job.finished_at is None:
        return 0
    return max(0, int((job.finished_at + OUTPUT_LIFETIME - now).total_seconds()))


def to_error(error: ServiceError) -> tuple[int, dict[str, Any]]:
    """`{"detail": ...}`: 422 for what is wrong with a request, 500 for whatever is wrong with us.

    What has expired is not there: the document knows no 410.
    """
    status = 422 if isinstance(error, InvalidRequest) else 404 if isinstance(error, Gone) else error.status
    return min(status, 500), {"detail": error.message.replace("`cfg_scale`", "`guidance_scale`")}


def _ruled(body: GenerateBody, model: Model, rules: Rules) -> dict[str, Any]:
    """The document's defaults, and what was given within its ranges."""
    steps = _within("steps", body.steps, rules.min_steps, rules.max_steps)
    params: dict[str, Any] = {
        "width": _side(model, "width", body.width),
        "height": _side(model, "height", body.height),
        "steps": rules.steps if steps is None else steps,
        "cfg_scale": _guidance(rules.guidance),
    }
    return params if rules.negative_prompt else params | {"negative_prompt": None}


def _side(model: Model, name: str, value: int | None) -> int:
    """A side in pixels as the model takes it: the document allows any, models want multiples."""
    side = _within(name, value, MIN_SIDE, MAX_SIDE) or DEFAULT_SIDE
    spec = model.parameters.get(name)
    return side - side % spec.step if isinstance(spec, Integer) else side


def _guidance(scale: float) -> float:
    if scale < 0:
        raise InvalidRequest(
            "`guidance_scale` must not be below 0", code="invalid_guidance_scale", param="guidance_scale"
        )
    return max(scale, NO_GUIDANCE)


def _within(name: str, value: int | None, least: int, most: int) -> int | None:
    if value is not None and not least <= value <= most:
        raise InvalidRequest(
            f"`{name}` must be between {least} and {most}", code=f"invalid_{name}", param=name
        )
    return value

"""PixelAPI: from a request body to a GenerationRequest, and from a job to a response.

The document gives ranges and defaults for two models; all others keep those of their manifests. Its guidance
scale counts as diffusers does: values of 1 and below disable guidance, which a graph writes as 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from pydantic import Field

from orchestrator.billing.price_book import PriceBook
from orchestrator.billing.values import Account
from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.parameters.values import MAX_SEED
from orchestrator.catalog.tasks import find_tasks
from orchestrator.errors import ContentBlocked, InvalidRequest, invalid_field
from orchestrator.intake.field_names import errors_name_fields
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job
from orchestrator.web.dialects.credits import charged_micros, format_utc, to_credits
from orchestrator.web.dialects.dimensions import (
    SizeField,
    asked_aspect_ratio,
    pixels_by_shape,
    size_to_dimensions,
)
from orchestrator.web.dialects.ids import job_id_to_uuid
from orchestrator.web.dialects.input_image_models import refusals_name_models
from orchestrator.web.dialects.lora_fields import LORA_FIELDS, LoraFields, lora_params
from orchestrator.web.dialects.model_selection import (
    check_image_count,
    image_field_names,
    to_image_params,
    with_fill,
)
from orchestrator.web.dialects.parameter_names import ModelParameters, take_parameters
from orchestrator.web.dialects.pixelapi.schemas import (
    PixelApiGenerationResponse,
    PixelApiModelFields,
    PixelApiSubmitResponse,
)
from orchestrator.web.dialects.request_body import names_sent_fields
from orchestrator.web.dialects.status_names import STATUS_NAMES

TARIFF = "pixelapi"
DEFAULT_MODEL = "sdxl"
#: How long after completion a generation's file can be downloaded.
OUTPUT_LIFETIME = timedelta(hours=24)
MIN_SIDE, MAX_SIDE, DEFAULT_SIDE = 512, 1536, 1024
#: The guidance scale with which a graph ignores the negative prompt.
GUIDANCE_DISABLED = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelLimits:
    """Ranges and defaults that the document states for a model."""

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
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
#: Names of models that the document lists.
DOCUMENTED_MODELS = frozenset({*MODEL_LIMITS, "cogvideo-2b", "upscale-4x"})


class PixelApiGenerateBody(LoraFields):
    """Body of `POST /v1/image/generate`. Other parameters of the model are passed under their own names."""

    synonyms = MappingProxyType({"cfg_scale": "guidance_scale"})
    control_fields = frozenset(
        {"model", "guidance_scale", "size", "aspect_ratio", "resolution", "image", "images", *LORA_FIELDS}
    )

    model: str | None = Field(None, description="Id or alias of a model; default: sdxl.")
    prompt: str | None = Field(None, description="Description of the image.")
    negative_prompt: str | None = Field(None, description="Description of what to avoid (SDXL only).")
    size: SizeField | None = Field(None, description="Size in pixels as WIDTHxHEIGHT.")
    aspect_ratio: str | None = Field(
        None, description="Aspect ratio of the result, such as 16:9, instead of a size."
    )
    resolution: str | None = Field(
        None, max_length=20, description="Number of pixels, such as 720p, 1K or 0.5 MP, instead of a size."
    )
    image: str | None = Field(None, description="Input image: base64 text, data URL or http(s) URL.")
    images: list[str] | None = Field(None, description="Further input images, in the same forms.")
    width: int | None = Field(None, description="Width in pixels, 512 to 1536; default: 1024.")
    height: int | None = Field(None, description="Height in pixels, 512 to 1536; default: 1024.")
    steps: int | None = Field(
        None, description="Number of denoising steps. SDXL: 20 to 50 (default 30). FLUX: 1 to 8 (default 4)."
    )
    guidance_scale: int | float | None = Field(
        None, description="How closely the result follows the prompt; default: 7.5 (SDXL), 0 (FLUX)."
    )
    seed: int | None = Field(
        None,
        json_schema_extra={"minimum": 0, "maximum": MAX_SEED},
        description="The same seed and parameters give the same result.",
    )

    def parameter_fields(self, model: Model) -> dict[str, str]:
        """Return the caller's name of each parameter that has another name here."""
        names = self.given_names
        guidance = names.get("guidance_scale", "guidance_scale")
        counts = {"image": 1 if self.image else 0, "images": len(self.images or ())}
        files = image_field_names(model, counts, names)
        return {**names, **files, "cfg_scale": guidance}

    @property
    def input_images(self) -> list[str]:
        """All input images in order."""
        return [*([self.image] if self.image else []), *(self.images or [])]

    def use_document_names(self, error: InvalidRequest, catalog: Catalog) -> InvalidRequest:
        """Return an error in the document's names: of the model, and of the guidance scale in lists."""
        message, name = error.message, self.model or DEFAULT_MODEL
        if name in catalog and (model := catalog[name]).id != name:
            message = re.sub(rf"(?<![\w.-]){re.escape(model.id)}(?![\w-])", name, message)
        head, separator, names = message.partition("Its parameters are: ")
        message = head + separator + re.sub(r"\bcfg_scale\b", "guidance_scale", names)
        return type(error)(message, code=error.code, param=error.param, details=error.details)


@names_sent_fields
def to_request(
    body: PixelApiGenerateBody, catalog: Catalog, *, idempotency_key: str | None
) -> GenerationRequest:
    """Translate a request body. Raises InvalidRequest."""
    images, asks_for_mask = body.input_images, bool(body.passed_fields.get("mask"))

    def translate(has_mask: bool) -> GenerationRequest:
        tasks = find_tasks(image_count=len(images), has_mask=has_mask)
        model = catalog.resolve(body.model or DEFAULT_MODEL, *tasks)
        with refusals_name_models(model, catalog, len(images), has_mask=asks_for_mask):
            return _to_request(body, model, idempotency_key)

    return with_fill(translate, has_image=bool(images), has_mask=asks_for_mask)


def _to_request(body: PixelApiGenerateBody, model: Model, idempotency_key: str | None) -> GenerationRequest:
    """Translate a request body for the model that serves it. Raises InvalidRequest."""
    images, name = body.input_images, api_id(model)
    passed = take_parameters(model, body.passed_fields, body.taken_fields(model))
    if passed.values.get("n", 1) != 1:
        given = str(passed.values["n"])[:20]
        raise invalid_field("n", f"must be 1: a generation is one image (got {given})")
    passed = _with_size(passed, body, model)
    check_image_count(model, len(images), "images" if body.images else "image")
    passed = passed.extended(to_image_params(model, images)).with_computed(lora_params(body, model))
    params = {**passed.values}
    if name in MODEL_LIMITS:
        with errors_name_fields({}, passed.computed_from):
            params |= _documented_params(body, passed, model, MODEL_LIMITS[name])
    params |= _guidance_param(body, model)
    return GenerationRequest(
        model=body.model or name,
        served_by=model.id,
        tariff_model=name,
        params=params,
        warnings=(*passed.warnings, *_guidance_warnings(body)),
        field_names=body.parameter_fields(model),
        computed_from=passed.computed_from,
        pixels_by_shape=pixels_by_shape(body.size, body.aspect_ratio, body.resolution),
        aspect_ratio=asked_aspect_ratio(body.size, body.aspect_ratio),
        idempotency_key=idempotency_key,
        tariff=TARIFF,
        webhook_url=body.webhook_url,
        store_blocked_job=True,
    )


def api_id(model: Model) -> str:
    """Return the document's name of a model, or its id if the document does not list it."""
    return next((name for name in (model.id, *model.aliases) if name in DOCUMENTED_MODELS), model.id)


def documented_names(catalog: Catalog) -> list[tuple[str, Model]]:
    """Return the document's names of models that have another id, with the models."""
    found = [(name, catalog[name]) for name in sorted(DOCUMENTED_MODELS) if name in catalog]
    return [(name, model) for name, model in found if model.id != name]


def to_model_fields(
    model: Model, prices: PriceBook, values: Mapping[str, int] = MappingProxyType({})
) -> PixelApiModelFields:
    """Return what the list of models reports for PixelAPI's clients; `values` are defaults of the name."""
    micros = prices.example_quote(TARIFF, model, values).micros
    return PixelApiModelFields(credits=to_credits(micros, prices.micros_per_unit(TARIFF)))


def to_submit_response(job: Job, credit_micros: Fraction) -> PixelApiSubmitResponse:
    """Return the response to a submission; a credit is worth `credit_micros` micro-dollars."""
    return PixelApiSubmitResponse.model_validate(
        {
            "generation_id": job_id_to_uuid(job.id),
            "status": to_status_name(job),
            "model": job.shown_model,
            "credits_used": to_credits(charged_micros(job), credit_micros),
        }
    )


def to_generation_response(job: Job, credit_micros: Fraction, url: str | None) -> PixelApiGenerationResponse:
    """Return a generation; `url` is that of its file, None if it is unfinished or has expired."""
    error = {"error": job.error.message} if job.error else {}
    return PixelApiGenerationResponse.model_validate(
        {
            "id": job_id_to_uuid(job.id),
            "status": to_status_name(job),
            "output_url": url,
            "model": job.shown_model,
            "credits_used": to_credits(charged_micros(job), credit_micros),
            "created_at": format_utc(job.created_at),
            **error,
        }
    )


def to_status_name(job: Job) -> str:
    """Return the document's name of a job's status: queued, processing, completed, failed or blocked."""
    if job.error is not None and job.error.code == ContentBlocked.default_code:
        return "blocked"
    return STATUS_NAMES[job.status]


def account_email(account: Account) -> str:
    """Return the email address of an account: its name, if that is one.

    The document always states an address. Other accounts get one of a domain that cannot exist.
    """
    return account.name if _EMAIL.fullmatch(account.name) else f"{account.id}@accounts.invalid"


def _with_size(passed: ModelParameters, body: PixelApiGenerateBody, model: Model) -> ModelParameters:
    """Return the parameters with the size that fields other than `width` and `height` ask for."""
    dimensions = size_to_dimensions(
        model, body.size, aspect_ratio=body.aspect_ratio, resolution=body.resolution
    )
    field = "size" if body.size else "resolution" if body.resolution else "aspect_ratio"
    return passed.with_computed(dimensions, field)


def _documented_params(
    body: PixelApiGenerateBody, passed: ModelParameters, model: Model, limits: ModelLimits
) -> dict[str, Any]:
    """Return the document's defaults and the given values, checked against its ranges."""
    sides = {name: passed.values.get(name) for name in ("width", "height")}
    steps = _check_range("steps", body.steps, limits.min_steps, limits.max_steps)
    params: dict[str, Any] = {
        "width": _check_range("width", sides["width"], MIN_SIDE, MAX_SIDE) or DEFAULT_SIDE,
        "height": _check_range("height", sides["height"], MIN_SIDE, MAX_SIDE) or DEFAULT_SIDE,
        "steps": limits.default_steps if steps is None else steps,
        "cfg_scale": _to_cfg_scale(limits.default_guidance),
    }
    return {name: value for name, value in params.items() if name in model.parameters}


def _guidance_param(body: PixelApiGenerateBody, model: Model) -> dict[str, float]:
    if body.guidance_scale is None:
        return {}
    if "cfg_scale" not in model.parameters:
        raise body.unknown_parameter(model, "guidance_scale")
    return {"cfg_scale": _to_cfg_scale(body.guidance_scale)}


def _guidance_warnings(body: PixelApiGenerateBody) -> Iterator[str]:
    """Yield a warning for a value between 0 and 1, both of which disable guidance."""
    if body.guidance_scale is not None and 0 < body.guidance_scale < GUIDANCE_DISABLED:
        yield f"`guidance_scale` of {body.guidance_scale:g} has the effect of 0: there is no guidance below 1"


def _to_cfg_scale(guidance_scale: float) -> float:
    if guidance_scale < 0:
        raise invalid_field("guidance_scale", f"must be at least 0 (got {str(guidance_scale)[:20]})")
    return max(guidance_scale, GUIDANCE_DISABLED)


def _check_range(name: str, value: int | None, minimum: int, maximum: int) -> int | None:
    if value is not None and not minimum <= value <= maximum:
        raise invalid_field(name, f"must be between {minimum} and {maximum} (got {str(value)[:20]})")
    return value

"""The Pixel Factory document, which speaks as OpenAI's images API does, with fields of its own."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.catalog import Catalog, Model, parse_size
from orchestrator.errors import InvalidRequest, ServiceError
from orchestrator.jobs import Job, JobRecord
from orchestrator.service import GenerationRequest
from pricing.money import to_cents
from pricing.tariff import Tariff

DEFAULT_MODEL = "flux-1-schnell"
DEFAULT_FORMAT = "b64_json"
FORMATS = ("b64_json", "url")

#: Fields that go to the model as they are. All others (OpenAI's `user`, `quality`, `style`, ...) are
#: tolerated and mean nothing here.
MODEL_FIELDS = (
    "prompt",
    "negative_prompt",
    "n",
    "steps",
    "cfg_scale",
    "seed",
    "num_frames",
    "fps",
    "image",
)
#: Fields that a form can only send as text.
NUMBERS = ("n", "steps", "cfg_scale", "seed", "num_frames", "fps")


def to_request(fields: Mapping[str, Any], *, form: bool, idempotency_key: str | None) -> GenerationRequest:
    """What a body asks for. Raises InvalidRequest where it can not even be understood."""
    params = {name: fields[name] for name in MODEL_FIELDS if fields.get(name) is not None}
    if form:
        params = {name: _from_form(name, value) for name, value in params.items()}
    params |= _size(fields.get("size"))
    return GenerationRequest(model=_model(fields), params=params, idempotency_key=idempotency_key)


def wants_url(fields: Mapping[str, Any]) -> bool:
    """Whether the answer shall name URLs instead of carrying the files. Raises InvalidRequest."""
    wanted = fields.get("response_format") or DEFAULT_FORMAT
    if wanted not in FORMATS:
        raise InvalidRequest(
            "`response_format` must be b64_json or url",
            code="invalid_response_format",
            param="response_format",
        )
    return bool(wanted == "url")


def to_response(record: JobRecord, model: Model, data: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The answer to a finished generation; `data` has one item per output."""
    return {
        "created": int(record.job.created_at.timestamp()),
        "data": list(data),
        "usage": usage(record, model),
    }


def usage(record: JobRecord, model: Model) -> dict[str, Any]:
    """What was made and what it cost."""
    job, outputs = record.job, record.outputs
    size = f"{outputs[0].width}x{outputs[0].height}" if outputs and outputs[0].width else None
    return {
        "model": job.model,
        "size": size,
        "n": len(outputs),
        "steps": job.params.get("steps", model.default_steps),
        "duration_ms": duration_ms(job),
        "cost_cents": to_cents(job.price),
    }


def duration_ms(job: Job) -> int | None:
    """Milliseconds from the first shard's start to the last one's end."""
    if job.started_at is None or job.finished_at is None:
        return None
    return round((job.finished_at - job.started_at).total_seconds() * 1000)


def to_models(catalog: Catalog, tariff: Tariff) -> dict[str, Any]:
    """The list of models."""
    return {"object": "list", "data": [to_model(model, tariff) for model in catalog]}


def to_model(model: Model, tariff: Tariff) -> dict[str, Any]:
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


def to_error(error: ServiceError) -> tuple[int, dict[str, Any]]:
    """`{"error": {...}}`; OpenAI's SDKs read `param` too. Callers know width and height as `size`."""
    code, param = error.code, error.param
    if param in ("width", "height"):
        code, param = "invalid_size", "size"
    body = {"message": error.message, "type": error.type, "code": code, "param": param}
    return error.status, {"error": body | error.details}


def _model(fields: Mapping[str, Any]) -> str:
    model = fields.get("model")
    if model is None:
        return DEFAULT_MODEL
    if not isinstance(model, str):
        raise InvalidRequest("`model` must be a string", code="invalid_model", param="model")
    return model


def _size(size: object) -> dict[str, int]:
    """`auto`, as newer SDKs say it, leaves the size to the model."""
    if size is None or size == "auto":
        return {}
    width, height = parse_size(size)
    return {"width": width, "height": height}


def _from_form(name: str, value: Any) -> Any:
    """Numbers from text; what is none stays as it is, and the model refuses it."""
    if name not in NUMBERS or not isinstance(value, str):
        return value
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return value

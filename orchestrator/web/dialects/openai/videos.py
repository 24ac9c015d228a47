"""OpenAI's videos API, as its official SDKs send it: a video is a job whose model makes films."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from pydantic import Field

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.manifest import ModelKind
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.errors import InvalidRequest
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.web.dialects.model_selection import max_input_images, to_image_params
from orchestrator.web.dialects.openai.images import (
    ImageInput,
    RequestBody,
    passthrough_params,
    size_to_dimensions,
    unwrap_image_input,
)

#: Who makes films where the caller names no model: the first of these that can make what is asked for.
PREFERRED_TEXT_TO_VIDEO_MODELS = ("wan2.1-t2v-fast", "wan2.2-t2v-14b", "ltx2-t2v")
PREFERRED_IMAGE_TO_VIDEO_MODELS = ("wan2.1-i2v-480p", "wan2.2-i2v-14b", "ltx2.3-i2v")

#: Where a remix keeps the id of the video that it was made from.
REMIX_SOURCE_KEY = "remixed_from_video_id"

VIDEO_STATUS_NAMES = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "in_progress",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "failed",
}

#: Our words for what callers know by others.
_FIELD_BY_PARAMETER = {"image": "input_reference", "images": "input_reference", "num_frames": "seconds"}
_SECONDS_PATTERN = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?", re.ASCII)


class VideoCreateBody(RequestBody):
    """`POST /videos`. Further parameters of the model's manifest are taken under their names there."""

    control_fields = frozenset({"model", "size", "seconds", "input_reference"})

    model: str | None = Field(None, description="Id or alias of a model that makes films.")
    prompt: str | None = Field(None, description="What happens in the video.")
    seconds: str | int | float | None = Field(None, description="Length; default: the model's own.")
    size: str | None = Field(None, description="WIDTHxHEIGHT; default: the model's own.")
    input_reference: ImageInput | None = Field(None, description="The picture to begin with.")


class VideoRemixBody(RequestBody):
    """`POST /videos/{id}/remix`."""

    prompt: str | None = Field(None, description="What happens in the new video.")


def to_request(
    body: VideoCreateBody, catalog: Catalog, *, form: bool, idempotency_key: str | None
) -> GenerationRequest:
    """What a body asks for. Raises InvalidRequest."""
    picture = (
        None if body.input_reference is None else unwrap_image_input(body.input_reference, "input_reference")
    )
    makers = (
        [catalog[body.model]] if body.model else _candidate_models(catalog, has_image=picture is not None)
    )
    model = next((maker for maker in makers if _can_generate(maker, body, form=form)), makers[0])
    if not model.makes_video:
        raise InvalidRequest(f"{model.id} makes no video", code="unsupported_model", param="model")
    if picture is not None and not max_input_images(model):
        raise InvalidRequest(
            f"{model.id} takes no picture", code="unsupported_input_reference", param="input_reference"
        )
    params = _video_params(body, model, form=form) | to_image_params(
        model, [] if picture is None else [picture]
    )
    return GenerationRequest(
        model=model.id,
        params=params,
        idempotency_key=idempotency_key,
        webhook_url=body.webhook_url,
    )


def to_remix_request(
    source: Job,
    model: Model,
    prompt: str | None,
    input_images: Mapping[str, Any],
    idempotency_key: str | None,
) -> GenerationRequest:
    """The same film, seed and all, after other words; `pictures` are the files that it was made from."""
    kept = {name: value for name, value in source.params.items() if name in model.parameters}
    return GenerationRequest(
        model=model.id,
        params={**kept, **input_images, "prompt": prompt},
        idempotency_key=idempotency_key,
        extra_params={REMIX_SOURCE_KEY: source.id},
    )


def to_video_response(record: JobRecord, progress: float, retention_days: float) -> dict[str, Any]:
    """The video object; `progress` is the share of the steps that are done."""
    job = record.job
    done = job.status is JobStatus.SUCCEEDED
    ended = job.finished_at
    return {
        "id": job.id,
        "object": "video",
        "model": job.model,
        "status": VIDEO_STATUS_NAMES[job.status],
        "progress": 100 if done else min(99, int(progress * 100)),
        "prompt": job.params.get("prompt"),
        "size": _format_size(record),
        "seconds": _format_seconds(record),
        "created_at": int(job.created_at.timestamp()),
        "completed_at": int(ended.timestamp()) if done and ended else None,
        "expires_at": int((ended + timedelta(days=retention_days)).timestamp()) if done and ended else None,
        "remixed_from_video_id": job.params.get(REMIX_SOURCE_KEY),
        "error": _error_details(job),
    }


@contextmanager
def translate_param_errors() -> Iterator[None]:
    """Refusals of parameters name the fields of this API."""
    try:
        yield
    except InvalidRequest as error:
        name = _FIELD_BY_PARAMETER.get(error.param or "", error.param)
        if name == error.param or name is None:
            raise
        own = {f"{word}_{error.param}": f"{word}_{name}" for word in ("missing", "invalid")}
        message = error.message.replace(f"`{error.param}`", f"`{name}`")
        raise InvalidRequest(message, code=own.get(error.code, error.code), param=name) from error


def _candidate_models(catalog: Catalog, *, has_image: bool) -> list[Model]:
    """The usual models, or all of their kind where none of those is here. Raises InvalidRequest."""
    usual, kind = (
        (PREFERRED_IMAGE_TO_VIDEO_MODELS, ModelKind.I2V)
        if has_image
        else (PREFERRED_TEXT_TO_VIDEO_MODELS, ModelKind.VIDEO)
    )
    here = [catalog[name] for name in usual if name in catalog]
    return here or [model for model in catalog if model.kind is kind] or [catalog[usual[0]]]


def _can_generate(model: Model, body: VideoCreateBody, *, form: bool) -> bool:
    """Whether size, length and all else are within the model's ranges."""
    try:
        model.example_params(**_video_params(body, model, form=form))
    except InvalidRequest:
        return False
    return True


def _video_params(body: VideoCreateBody, model: Model, *, form: bool) -> dict[str, Any]:
    """The model's parameters but for pictures. Raises InvalidRequest."""
    own = passthrough_params(body, model, form=form)
    return size_to_dimensions(body.size) | _seconds_to_frames(body.seconds, model, own.get("fps")) | own


def _seconds_to_frames(seconds: str | float | None, model: Model, requested_fps: object) -> dict[str, int]:
    """As many frames as a film of that length has. Raises InvalidRequest."""
    if seconds is None:
        return {}
    if not _SECONDS_PATTERN.fullmatch(str(seconds)):
        raise _invalid_seconds("must be a number of seconds, for example 4")
    spec, fps = model.parameters.get("num_frames"), model.parameters.get("fps")
    if not isinstance(spec, IntegerParameter) or not isinstance(fps, IntegerParameter) or not fps.default:
        raise _invalid_seconds(f"is not {model.id}'s to choose")
    rate = fps.default if requested_fps is None else fps.validate_value("fps", requested_fps)
    frames = round(float(seconds) * rate)
    if not spec.minimum <= frames <= spec.maximum:
        shortest, longest = spec.minimum / rate, spec.maximum / rate
        raise _invalid_seconds(f"must be between {shortest:.1f} and {longest:.1f} for {model.id}")
    return {"num_frames": frames}


def _invalid_seconds(reason: str) -> InvalidRequest:
    return InvalidRequest(f"`seconds` {reason}", code="invalid_seconds", param="seconds")


def _format_size(record: JobRecord) -> str | None:
    made = record.outputs[0] if record.outputs else None
    params = record.job.params
    width, height = (made.width, made.height) if made else (params.get("width"), params.get("height"))
    return f"{width}x{height}" if width and height else None


def _format_seconds(record: JobRecord) -> str:
    """Whole seconds, as text: so SDKs know it."""
    made = record.outputs[0] if record.outputs else None
    params = record.job.params
    frames = (made.frames if made else None) or params.get("num_frames") or 0
    fps = (made.fps if made else None) or params.get("fps") or 0
    return str(max(1, round(frames / fps))) if fps else "0"


def _error_details(job: Job) -> dict[str, str] | None:
    if job.status is JobStatus.CANCELLED:
        return {"code": "cancelled", "message": "The video was cancelled."}
    return {"code": job.error.code, "message": job.error.message} if job.error else None

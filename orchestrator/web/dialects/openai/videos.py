"""OpenAI's videos API: a video is a job whose model makes videos."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

from pydantic import Field

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.manifest import ModelKind
from orchestrator.catalog.tasks import Task
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.intake.video_following import follows_rate
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.web.dialects.dimensions import (
    SizeField,
    format_seconds,
    seconds_to_frames,
    size_to_dimensions,
)
from orchestrator.web.dialects.input_image_models import (
    max_input_images,
    refusals_name_models,
    suggest_models,
    takes_images,
)
from orchestrator.web.dialects.lora_fields import LORA_FIELDS, LoraFields
from orchestrator.web.dialects.model_selection import to_image_params
from orchestrator.web.dialects.openai.image_bodies import ImageInput, unwrap_image_input
from orchestrator.web.dialects.openai.images import find_size_field, pass_parameters
from orchestrator.web.dialects.openai.schemas import VideoError, VideoResource
from orchestrator.web.dialects.parameter_names import WITHOUT_EFFECT, ModelParameters, ignore_field
from orchestrator.web.dialects.request_body import RequestBody, names_sent_fields
from orchestrator.web.dialects.status_names import STATUS_NAMES

#: Models for requests that name none: the first one that supports the size and the length.
PREFERRED_TEXT_TO_VIDEO_MODELS = ("wan2.1-t2v-fast", "wan2.2-t2v-14b", "ltx2-t2v")
PREFERRED_IMAGE_TO_VIDEO_MODELS = ("wan2.1-i2v-480p", "wan2.2-i2v-14b", "ltx2.3-i2v")

#: Parameter of a remix's job that stores the id of the source video.
REMIX_SOURCE_KEY = "remixed_from_video_id"

VIDEO_STATUS_NAMES = STATUS_NAMES | {JobStatus.RUNNING: "in_progress"}

_SECONDS_PATTERN = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})?", re.ASCII)


class VideoCreateBody(LoraFields):
    """Body of `POST /videos`. Other parameters of the model are passed under their own names."""

    synonyms = MappingProxyType({"image": "input_reference", "duration": "seconds"})
    control_fields = frozenset(
        {"model", "size", "aspect_ratio", "resolution", "seconds", "input_reference", *LORA_FIELDS}
    )

    model: str | None = Field(
        None, description="Id or alias of a model that makes videos; default: one that supports the request."
    )
    prompt: str | None = Field(None, description="Description of the video.")
    seconds: str | int | float | None = Field(
        None, description="Length in seconds: a whole number of frames; default: the model's default."
    )
    size: SizeField | None = Field(
        None, description="Size in pixels as WIDTHxHEIGHT; default: the model's default."
    )
    aspect_ratio: str | None = Field(
        None, description="Aspect ratio of the video, such as 16:9, instead of a size."
    )
    resolution: str | None = Field(
        None, max_length=20, description="Number of pixels, such as 720p, instead of a size."
    )
    input_reference: ImageInput | None = Field(
        None,
        description="Image that the video starts with: base64 text, data URL, http(s) URL or uploaded file.",
    )

    @property
    def given_names(self) -> Mapping[str, str]:
        given, sent = super().given_names, self.model_extra or {}
        names = {
            name: given.get("input_reference", "input_reference")
            for name in ("image", "images")
            if name not in sent
        }
        if self.seconds is not None and "num_frames" not in sent:
            names["num_frames"] = given.get("seconds", "seconds")
        return {**given, **names}


class VideoRemixBody(RequestBody):
    """Body of `POST /videos/{id}/remix`."""

    prompt: str | None = Field(None, description="Description of the new video.")


@names_sent_fields
def to_request(
    body: VideoCreateBody, catalog: Catalog, *, form: bool, idempotency_key: str | None
) -> GenerationRequest:
    """Translate a request for a video. Raises InvalidRequest."""
    images = (
        [] if body.input_reference is None else [unwrap_image_input(body.input_reference, "input_reference")]
    )
    task = Task.IMAGE_VIDEO if images else Task.VIDEO
    candidates = (
        [catalog.resolve(body.model, task)]
        if body.model
        else _candidate_models(catalog, has_image=bool(images))
    )
    model = next((each for each in candidates if _can_generate(each, body, form=form)), candidates[0])
    if not model.makes_video:
        models = suggest_models(
            [*_candidate_models(catalog, has_image=bool(images)), *catalog],
            lambda other: takes_images(other, 1, for_video=True) if images else other.kind is ModelKind.VIDEO,
        )
        raise InvalidRequest(
            f"Model {model.id} does not make videos; {models or '`GET /v1/models` lists all models'}",
            code="unsupported_model",
            param="model",
        )
    with refusals_name_models(model, catalog):
        if images and not max_input_images(model):
            raise InvalidRequest(
                f"Model {model.id} does not accept an `input_reference`",
                code="unsupported_input_reference",
                param="input_reference",
            )
    params = _video_params(body, model, form=form).extended(to_image_params(model, images))
    request = body.to_generation_request(model, params, idempotency_key)
    if body.seconds is None or not _is_rate_open(params, model):
        return request
    return replace(request, frames_at_rate=partial(_frames_at_rate, body.seconds, model))


def _is_rate_open(params: ModelParameters, model: Model) -> bool:
    """Whether the length has as many frames as the rate of the input video makes of it."""
    return follows_rate(model) and "fps" not in params.values


def _frames_at_rate(seconds: str | float, model: Model, fps: int) -> tuple[dict[str, int], tuple[str, ...]]:
    return _frames_param(seconds, model, fps), ()


def to_remix_request(
    source: Job,
    model: Model,
    body: VideoRemixBody,
    input_images: Mapping[str, Any],
    idempotency_key: str | None,
) -> GenerationRequest:
    """Return the request of `source`, seed included, with another prompt.

    `input_images` are the files that the source video was made from, by parameter.
    """
    params = {name: value for name, value in source.params.items() if name in model.parameters}
    return GenerationRequest(
        model=source.shown_model,
        served_by=model.id,
        params={**params, **input_images, "prompt": body.prompt},
        warnings=_remix_warnings(body),
        idempotency_key=idempotency_key,
        extra_params={REMIX_SOURCE_KEY: source.id},
    )


def _remix_warnings(body: VideoRemixBody) -> tuple[str, ...]:
    """Return warnings for fields without an effect. Raises InvalidRequest for others than the prompt."""
    others = [name for name in body.passed_fields if name not in WITHOUT_EFFECT and name != "prompt"]
    if others:
        raise InvalidRequest(
            f"A remix takes a `prompt` only (got `{others[0][:60]}`); create a video with `POST /v1/videos`"
            " to change more",
            code="unknown_parameter",
            param=others[0][:60],
        )
    passed = body.passed_fields.items()
    return tuple(text for name, value in passed if name != "prompt" for text in ignore_field(name, value))


def to_video_response(record: JobRecord, progress: float, retention_days: float) -> VideoResource:
    """Return the video of a job; `progress` is the fraction of its steps that are done."""
    job = record.job
    completed = job.finished_at if job.status is JobStatus.SUCCEEDED else None
    expires = completed + timedelta(days=retention_days) if completed else None
    return VideoResource.model_validate(
        {
            "id": job.id,
            "object": "video",
            "model": job.shown_model,
            "status": VIDEO_STATUS_NAMES[job.status],
            "progress": _percent(job, progress),
            "prompt": job.params.get("prompt"),
            "size": _format_size(record),
            "seconds": _format_seconds(record),
            "created_at": int(job.created_at.timestamp()),
            "completed_at": int(completed.timestamp()) if completed else None,
            "expires_at": int(expires.timestamp()) if expires else None,
            "remixed_from_video_id": job.params.get(REMIX_SOURCE_KEY),
            "error": _error_details(job),
        }
    )


def _percent(job: Job, progress: float) -> int:
    """Return the progress of a video: 100 is its end, and a failed or cancelled one has none."""
    if job.is_finished:
        return 100 if job.status is JobStatus.SUCCEEDED else 0
    return min(99, int(progress * 100))


def _candidate_models(catalog: Catalog, *, has_image: bool) -> list[Model]:
    """Return the preferred models, or all of their kind if the catalogue has none of them.

    Raises InvalidRequest.
    """
    preferred, kind = (
        (PREFERRED_IMAGE_TO_VIDEO_MODELS, ModelKind.I2V)
        if has_image
        else (PREFERRED_TEXT_TO_VIDEO_MODELS, ModelKind.VIDEO)
    )
    available = [catalog[name] for name in preferred if name in catalog]
    return available or [model for model in catalog if model.kind is kind] or [catalog[preferred[0]]]


def _can_generate(model: Model, body: VideoCreateBody, *, form: bool) -> bool:
    """Whether the model supports the size, the length and all other parameters of the request."""
    try:
        model.example_params(**_video_params(body, model, form=form).values)
    except InvalidRequest:
        return False
    return True


def _video_params(body: VideoCreateBody, model: Model, *, form: bool) -> ModelParameters:
    """Return the fields of a body as parameters of the model, without images. Raises InvalidRequest."""
    dimensions = size_to_dimensions(
        model, body.size, aspect_ratio=body.aspect_ratio, resolution=body.resolution
    )
    params = pass_parameters(body, model, form=form).with_computed(dimensions, find_size_field(body))
    if body.seconds is None or _is_rate_open(params, model):
        return params
    return params.with_computed(_frames_param(body.seconds, model, params.values.get("fps")))


def _frames_param(seconds: str | float, model: Model, fps: object) -> dict[str, int]:
    """Return the number of frames of a video of that length. Raises InvalidRequest."""
    if not _SECONDS_PATTERN.fullmatch(str(seconds)):
        raise invalid_field("seconds", f"must be a number of seconds such as 4 (got {str(seconds)[:20]!r})")
    frames = seconds_to_frames(model, float(seconds), fps, field="seconds", exact=True)
    if frames is None:
        raise InvalidRequest(
            f"Model {model.id} has no `seconds` parameter", code="invalid_seconds", param="seconds"
        )
    return frames


def _format_size(record: JobRecord) -> str | None:
    output = record.outputs[0] if record.outputs else None
    params = record.job.params
    width, height = (output.width, output.height) if output else (params.get("width"), params.get("height"))
    return f"{width}x{height}" if width and height else None


def _format_seconds(record: JobRecord) -> str:
    """Return the length in seconds, as text, which SDKs expect: `4`, or `5.0625` for 81 frames at 16 fps."""
    output = record.outputs[0] if record.outputs else None
    params = record.job.params
    frames = (output.frames if output else None) or params.get("num_frames") or 0
    fps = (output.fps if output else None) or params.get("fps") or 0
    return format_seconds(frames / fps) if fps else "0"


def _error_details(job: Job) -> VideoError | None:
    if job.status is JobStatus.CANCELLED:
        return VideoError(code="cancelled", message="The video was cancelled.")
    return VideoError(code=job.error.code, message=job.error.message) if job.error else None

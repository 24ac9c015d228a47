"""PixelDojo: from a request body to a GenerationRequest, and from a job to a response.

Both versions of its document name `prompt`, `aspect_ratio` and `webhook_url` and refer to the schema of each
model for all else. In that schema, the model's parameters keep their names, beside the fields of `RunBody`.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

from pydantic import Field

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.tasks import find_tasks
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.field_names import errors_name_fields
from orchestrator.intake.model_names import errors_name_model
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.intake.video_following import follows_rate
from orchestrator.jobs import Job
from orchestrator.web.dialects.credits import charged_micros, to_credits, to_json_number
from orchestrator.web.dialects.dimensions import (
    SECONDS_TOLERANCE,
    SizeField,
    asked_aspect_ratio,
    check_seconds_at_any_rate,
    format_seconds,
    frame_rate,
    pixels_by_shape,
    seconds_to_frames,
    size_to_dimensions,
)
from orchestrator.web.dialects.input_image_models import max_input_images, refusals_name_models
from orchestrator.web.dialects.lora_fields import LORA_FIELDS, LoraFields, lora_params
from orchestrator.web.dialects.model_selection import (
    check_image_count,
    image_field_names,
    to_image_params,
    with_fill,
)
from orchestrator.web.dialects.parameter_names import ModelParameters, take_parameters
from orchestrator.web.dialects.pixeldojo.schemas import RunModelResponse
from orchestrator.web.dialects.raw_mode import raw_guidance
from orchestrator.web.http.validation_errors import format_rejected_value

TARIFF = "pixeldojo"
#: Names that the document advertises "with raw mode".
RAW_MODELS = frozenset({"flux-1.1-pro-ultra"})

#: Base64 text, a data URL or an http(s) URL.
EncodedImage = str


class RunBody(LoraFields):
    """Body of `POST /api/v1/models/{apiId}/run`. Other parameters of the model are passed under their own
    names.
    """

    control_fields = frozenset(
        {"size", "aspect_ratio", "resolution", "duration"}
        | {"image", "image_url", "images", "reference_images", *LORA_FIELDS}
    )

    prompt: str | None = Field(None, description="Description of the result.")
    size: SizeField | None = Field(None, description="Size in pixels as WIDTHxHEIGHT.")
    aspect_ratio: str | None = Field(None, description="Aspect ratio of the result, such as 16:9.")
    resolution: str | None = Field(
        None, max_length=20, description="Size of the result, such as 720p, 1K or 0.5 MP."
    )
    duration: int | float | None = Field(None, description="Length of the video in seconds.")
    image: EncodedImage | None = Field(None, description="Input image: base64 text, data URL or http(s) URL.")
    image_url: EncodedImage | None = Field(None, description="The same as `image`.")
    images: list[EncodedImage] | None = Field(None, description="Several input images.")
    reference_images: list[EncodedImage] | None = Field(
        None, description="Further input images; they follow `images`."
    )
    fps: int | None = Field(None, description="Frames per second of a video.")


def to_request(
    api_id: str, body: RunBody, catalog: Catalog, *, idempotency_key: str | None
) -> GenerationRequest:
    """Translate the body of a run of the model `api_id`. Raises InvalidRequest."""
    image_count = sum(map(len, _image_fields(body).values()))
    asks_for_mask = bool(body.passed_fields.get("mask"))

    def translate(has_mask: bool) -> GenerationRequest:
        model = catalog.resolve(api_id, *find_tasks(image_count=image_count, has_mask=has_mask))
        refusals = refusals_name_models(model, catalog, image_count, has_mask=asks_for_mask)
        with errors_name_model(api_id, catalog), refusals:
            return _to_request(api_id, body, model, idempotency_key)

    return with_fill(translate, has_image=bool(image_count), has_mask=asks_for_mask)


def _to_request(api_id: str, body: RunBody, model: Model, idempotency_key: str | None) -> GenerationRequest:
    """Translate the body of a run for the model that serves it. Raises InvalidRequest."""
    with errors_name_fields(body.given_names):
        passed = dict(body.passed_fields)
        raw = passed.pop("raw", None) if has_raw_mode(api_id, model) else None
        params = take_parameters(model, passed, body.taken_fields(model))
        params = _with_raw(params, raw, model)
        params = _with_size(params, body, model)
        params = _with_duration(params, body, model)
        params = params.extended(_image_params(body, model)).with_computed(lora_params(body, model))
    return GenerationRequest(
        model=api_id,
        served_by=model.id,
        params=params.values,
        warnings=params.warnings,
        field_names=_field_names(body, model),
        computed_from=params.computed_from,
        pixels_by_shape=pixels_by_shape(body.size, body.aspect_ratio, body.resolution),
        aspect_ratio=asked_aspect_ratio(body.size, body.aspect_ratio),
        frames_at_rate=partial(_frames_at_rate, body, model) if _is_rate_open(body, model) else None,
        idempotency_key=idempotency_key,
        tariff=TARIFF,
        webhook_url=body.webhook_url,
    )


def has_raw_mode(name: str, model: Model) -> bool:
    """Return whether a name has a raw mode, and its model no parameter `raw` of its own."""
    return name in RAW_MODELS and "raw" not in model.parameters


def _with_raw(params: ModelParameters, raw: object, model: Model) -> ModelParameters:
    """Return the parameters with the guidance that `raw` asks for."""
    if raw is not None and not isinstance(raw, bool):
        raise invalid_field("raw", f"must be true or false{format_rejected_value(raw)}")
    return params.with_computed(raw_guidance(model), "raw") if raw else params


def _with_size(params: ModelParameters, body: RunBody, model: Model) -> ModelParameters:
    """Return the parameters with the size that a size, or an aspect ratio and a resolution, ask for."""
    aspect_ratio, resolution = body.aspect_ratio or None, body.resolution or None
    if "size" in model.parameters and body.size is not None:
        # A parameter of the model itself: the side of squares.
        return params.extended({"size": body.size})
    size = size_to_dimensions(model, body.size, aspect_ratio=aspect_ratio, resolution=resolution)
    field = "size" if body.size else "resolution" if resolution else "aspect_ratio"
    return params.with_computed(size, field)


def _with_duration(params: ModelParameters, body: RunBody, model: Model) -> ModelParameters:
    """Return the parameters with the number of frames that a duration asks for."""
    if body.duration is None:
        return params
    if _is_rate_open(body, model):
        check_seconds_at_any_rate(model, body.duration, field="duration")
        return params
    frames, warnings = _frames_at_rate(body, model, body.fps)
    return params.with_computed(frames, "duration").extended({}, *warnings)


def _is_rate_open(body: RunBody, model: Model) -> bool:
    """Whether the length has as many frames as the rate of the input video makes of it."""
    return body.duration is not None and body.fps is None and follows_rate(model)


def _frames_at_rate(body: RunBody, model: Model, fps: int | None) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the number of frames that a duration asks for, and warnings. Raises InvalidRequest."""
    assert body.duration is not None
    frames = seconds_to_frames(model, body.duration, fps, field="duration")
    if frames is None:
        raise body.unknown_parameter(model, "duration")
    made = next(iter(frames.values())) / frame_rate(model, fps)
    if abs(made - body.duration) <= SECONDS_TOLERANCE:
        return frames, ()
    text = f"`duration` is {format_seconds(made)} seconds: {body.duration} is not a whole number of frames"
    return frames, (text,)


def _field_names(body: RunBody, model: Model) -> dict[str, str]:
    """Return the fields that errors of parameters name, where these have another name."""
    names = body.given_names
    counts = {field: len(images) for field, images in _image_fields(body).items()}
    return {**names, **image_field_names(model, counts, names)}


def _image_fields(body: RunBody) -> dict[str, list[EncodedImage]]:
    """Return the images of each field that has any. `image` and `image_url` are the same one."""
    fields = {
        "image": [body.image] if body.image else [],
        "image_url": [body.image_url] if body.image_url and not body.image else [],
        "images": body.images or [],
        "reference_images": body.reference_images or [],
    }
    return {name: images for name, images in fields.items() if images}


def _image_params(body: RunBody, model: Model) -> dict[str, Any]:
    if body.image and body.image_url and body.image != body.image_url:
        raise InvalidRequest(
            "`image` and `image_url` set the same parameter to different values; send one of them, and"
            " further images in `reference_images`",
            code="conflicting_fields",
            param="image_url",
        )
    fields = _image_fields(body)
    images = [image for given in fields.values() for image in given]
    if images and not max_input_images(model):
        raise body.unknown_parameter(model, next(iter(fields)))
    with errors_name_fields({"image": next(reversed(fields), "image")}):
        check_image_count(model, len(images))
    return to_image_params(model, images)


def to_run_response(
    job: Job, status: str, status_url: str, *, credit_micros: Fraction, available_micros: int | None
) -> RunModelResponse:
    """Return the response to a run.

    A credit is worth `credit_micros` micro-dollars; the account can still spend `available_micros`, which is
    None if the key may not read the balance.
    """
    remaining = (
        {}
        if available_micros is None
        else {"creditsRemaining": to_json_number(to_credits(available_micros, credit_micros))}
    )
    return RunModelResponse.model_validate(
        {
            **remaining,
            "jobId": job.id,
            "status": status,
            "statusUrl": status_url,
            "creditCost": to_json_number(to_credits(charged_micros(job), credit_micros)),
        }
    )

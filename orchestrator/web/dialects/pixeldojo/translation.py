"""PixelDojo: from a request body to a GenerationRequest, and from a job to a response.

Both versions of its document name `prompt`, `aspect_ratio` and `webhook_url` and refer to the schema of each
model for all else. In that schema, the model's parameters keep their names, beside the fields of `RunBody`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from pydantic import Field

from orchestrator.catalog import Catalog, Model
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job
from orchestrator.web.dialects.credits import charged_micros, to_credits, to_json_number
from orchestrator.web.dialects.dimensions import seconds_to_frames, size_to_dimensions
from orchestrator.web.dialects.model_selection import check_image_count, to_image_params
from orchestrator.web.dialects.parameter_names import take_parameters
from orchestrator.web.dialects.pixeldojo.schemas import RunModelResponse
from orchestrator.web.dialects.request_body import RequestBody

TARIFF = "pixeldojo"

#: Base64 text, a data URL or an http(s) URL.
EncodedImage = str


class RunBody(RequestBody):
    """Body of `POST /api/v1/models/{apiId}/run`. Other parameters of the model are passed under their own
    names.
    """

    control_fields = frozenset(
        {"aspect_ratio", "resolution", "duration", "image", "image_url", "images", "reference_images"}
        | {"lora_weights", "lora_scale"}
    )

    prompt: str | None = Field(None, description="Description of the result.")
    aspect_ratio: str | None = Field(None, description="Aspect ratio of the result, such as 16:9.")
    resolution: str | None = Field(
        None, max_length=20, description="Size of the result, such as 720p, 1K or 0.5 MP."
    )
    duration: int | float | None = Field(None, description="Length of the video in seconds.")
    image: EncodedImage | None = Field(None, description="Input image: base64 text, data URL or http(s) URL.")
    image_url: EncodedImage | None = Field(None, description="Input image, in the same forms as `image`.")
    images: list[EncodedImage] | None = Field(None, description="Several input images.")
    reference_images: list[EncodedImage] | None = Field(
        None, description="Further input images; they follow `images`."
    )
    lora_weights: str | list[str] | None = Field(None, description="Name of a LoRA, or names of several.")
    lora_scale: int | float | list[int | float] | None = Field(
        None, description="Strength of all LoRAs, or of each; default: 1."
    )
    fps: int | None = Field(None, description="Frames per second of a video.")


def to_request(
    api_id: str, body: RunBody, catalog: Catalog, *, idempotency_key: str | None
) -> GenerationRequest:
    """Translate the body of a run of the model `api_id`. Raises InvalidRequest."""
    model = catalog[api_id]
    params = take_parameters(model, body.passed_fields)
    if body.aspect_ratio or body.resolution:
        params = params.with_computed(
            size_to_dimensions(
                model, None, aspect_ratio=body.aspect_ratio or None, resolution=body.resolution or None
            )
        )
    if body.duration is not None:
        frames = seconds_to_frames(model, body.duration, body.fps, field="duration")
        if frames is None:
            raise model.unknown_parameter("duration")
        params = params.with_computed(frames)
    params = params.extended(_image_params(body, model)).with_computed(_lora_params(body, model))
    return GenerationRequest(
        model=api_id,
        params=params.values,
        warnings=params.warnings,
        field_names=body.given_names,
        idempotency_key=idempotency_key,
        tariff=TARIFF,
        webhook_url=body.webhook_url,
    )


def _image_params(body: RunBody, model: Model) -> dict[str, Any]:
    single = [image for image in (body.image, body.image_url) if image is not None]
    images = [*single, *(body.images or ()), *(body.reference_images or ())]
    check_image_count(model, len(images))
    return to_image_params(model, images)


def _lora_params(body: RunBody, model: Model) -> dict[str, Any]:
    if body.lora_weights is None:
        return {}
    if "loras" not in model.parameters:
        raise InvalidRequest(
            f"Model {model.id} does not support LoRAs; omit `lora_weights`",
            code="unsupported_lora",
            param="lora_weights",
        )
    names = body.lora_weights if isinstance(body.lora_weights, list) else [body.lora_weights]
    scale = 1.0 if body.lora_scale is None else body.lora_scale
    scales = scale if isinstance(scale, list) else [scale] * len(names)
    if len(scales) != len(names):
        raise invalid_field(
            "lora_scale",
            f"must be one number or one for each LoRA (got {len(scales)} for {len(names)} LoRAs)",
        )
    return {"loras": [{"name": name, "strength": each} for name, each in zip(names, scales, strict=True)]}


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

"""OpenAI's images API: from a request body to a GenerationRequest, and what responses report of images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.errors import InvalidRequest, invalid_field, missing_field
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Output
from orchestrator.number_text import parse_decimal
from orchestrator.web.dialects.dimensions import size_to_dimensions
from orchestrator.web.dialects.image_formats import check_image_format
from orchestrator.web.dialects.input_image_models import PREFERRED_EDIT_MODELS
from orchestrator.web.dialects.lora_fields import LoraFields, lora_params
from orchestrator.web.dialects.model_selection import (
    ImageToImageTask,
    scale_steps,
    to_image_params,
    with_fill,
)
from orchestrator.web.dialects.openai.image_bodies import (
    ImageEditBody,
    ImageRequestBody,
    ImageVariationBody,
    unwrap_image_input,
)
from orchestrator.web.dialects.parameter_names import ModelParameters, take_parameters
from orchestrator.web.dialects.request_body import RequestBody, names_sent_fields

#: Models for variations that name none: the first that accepts the image, then any other that does.
PREFERRED_VARIATION_MODELS = ("flux-1-redux-dev",)

#: Fields of bodies of videos that those of images do not have.
VIDEO_ONLY_FIELDS = frozenset({"seconds", "duration", "input_reference"})
#: Number of steps by quality, as a multiple of the model's default.
STEPS_FACTOR_BY_QUALITY = {
    "low": 0.5,
    "medium": 1.0,
    "standard": 1.0,
    "auto": 1.0,
    "high": 1.5,
    "hd": 1.5,
    "xhigh": 2.0,
    "max": 2.0,
}
#: Qualities that change nothing.
_NEUTRAL_QUALITIES = frozenset({None, "auto", "medium", "standard"})
#: Qualities that responses report under another name.
_RESPONSE_QUALITIES = {"auto": "medium", "standard": "medium", "hd": "high"}


@names_sent_fields
def to_edit_request(
    body: ImageEditBody, catalog: Catalog, *, form: bool, idempotency_key: str | None
) -> GenerationRequest:
    """Translate an edit for the model that it names, or for one that can serve it. Raises InvalidRequest."""
    images, mask = body.input_images(), body.mask_params()
    if not images:
        raise missing_field("image")
    if body.markup is not None:
        raise InvalidRequest(
            "`markup` is not supported; use `prompt` or `mask`", code="unsupported_markup", param="markup"
        )

    def translate(has_mask: bool) -> GenerationRequest:
        task = ImageToImageTask(image_count=len(images), image_field=body.last_image_field, has_mask=has_mask)
        model = task.select_model(catalog, body.model, PREFERRED_EDIT_MODELS)
        params = to_model_params(body, model, form=form).extended(to_image_params(model, images) | mask)
        return body.to_generation_request(model, params, idempotency_key)

    return with_fill(translate, has_image=True, has_mask=bool(mask))


@names_sent_fields
def to_variation_request(
    body: ImageVariationBody, catalog: Catalog, *, form: bool, idempotency_key: str | None
) -> GenerationRequest:
    """Translate a variation for the model that it names, or for one that can serve it.

    Raises InvalidRequest.
    """
    if body.image is None:
        raise missing_field("image")
    image = unwrap_image_input(body.image, "image")
    task = ImageToImageTask(image_count=1, has_prompt=False)
    model = task.select_model(catalog, body.model, PREFERRED_VARIATION_MODELS)
    params = to_model_params(body, model, form=form).with_computed(to_image_params(model, [image]))
    return body.to_generation_request(model, params, idempotency_key)


def to_model_params(body: ImageRequestBody, model: Model, *, form: bool) -> ModelParameters:
    """Return the fields of a body as parameters of the model, without images. Raises InvalidRequest."""
    _check_video_fields(body, model)
    _check_response_options(body, model)
    dimensions = size_to_dimensions(
        model, body.size, aspect_ratio=body.aspect_ratio, resolution=body.resolution
    )
    passed = pass_parameters(body, model, form=form).with_computed(dimensions, find_size_field(body))
    own = _steps_param(body, model) | _background_param(body, model)
    return passed.extended(own, *_effect_warnings(body, model))


def find_size_field(body: RequestBody) -> str:
    """Return the name of the field that sets the size, for errors of the width and the height."""
    fields = ("size", "resolution", "aspect_ratio")
    return next((name for name in fields if getattr(body, name, None) is not None), "size")


def pass_parameters(body: LoraFields, model: Model, *, form: bool) -> ModelParameters:
    """Return the fields that are passed to the model under their own names.

    Raises InvalidRequest (`unknown_parameter`).
    """
    given = body.passed_fields
    if form:
        given = {name: _parse_form_value(model, name, value) for name, value in given.items()}
    passed = take_parameters(model, given, body.taken_fields(model))
    return passed.with_computed(lora_params(body, model))


def _effect_warnings(body: ImageRequestBody, model: Model) -> Iterator[str]:
    """Yield what fields of the dialect have no effect."""
    if body.quality not in _NEUTRAL_QUALITIES and not isinstance(
        model.parameters.get("steps"), IntegerParameter
    ):
        yield f"`quality` has no effect: {model.id} has no `steps`"
    elif body.quality not in _NEUTRAL_QUALITIES and getattr(body, "steps", None) is not None:
        yield "`quality` has no effect: the request sets the number of steps"
    if body.partial_images and not body.stream:
        yield "`partial_images` has no effect without `stream`"


def _check_video_fields(body: ImageRequestBody, model: Model) -> None:
    """Raise InvalidRequest for a field of bodies of videos, with those that take its place in this body."""
    given = VIDEO_ONLY_FIELDS & body.passed_fields.keys() - model.parameters.keys()
    if not given or not model.makes_video:
        return
    name = min(given)
    others = "`image`" if name == "input_reference" else "`num_frames` and `fps`"
    raise InvalidRequest(
        f"`{name}` is a field of `POST /v1/videos`: send the body to that path, or {others} instead",
        code="unknown_parameter",
        param=name,
    )


def _check_response_options(body: ImageRequestBody, model: Model) -> None:
    """Raise InvalidRequest if the response cannot be delivered as requested."""
    if not model.makes_images and (body.stream or body.output_format):
        field = "stream" if body.stream else "output_format"
        raise invalid_field(field, f"is only supported for images; model {model.id} does not make images")
    # A transparent `background` is checked with that field.
    check_image_format(model, body.encoding, background="opaque")
    if body.stream and body.wants_urls:
        raise invalid_field("response_format", "must be b64_json if `stream` is true")
    if body.output_compression not in (None, 100) and body.output_format in (None, "png"):
        raise invalid_field("output_compression", "needs an `output_format` of jpeg or webp")


def _parse_form_value(model: Model, name: str, value: Any) -> Any:
    """Parse the text of a form field, or return it unchanged for the model to reject."""
    spec = model.parameters.get(name)
    kind = "integer" if name == "n" else spec.type if spec else ""
    if kind not in _FORM_VALUE_PARSERS or not isinstance(value, str):
        return value
    try:
        return _FORM_VALUE_PARSERS[kind](value)
    except (ValueError, RecursionError):
        return value


def _parse_form_number(text: str) -> int | float:
    """Parse a number; a whole one is an integer, as in JSON, where 4.0 and 4 are the same."""
    number = parse_decimal(text)
    return int(number) if number == int(number) else float(number)


#: Parsers of the types of parameters that a form can only write as text. They raise ValueError.
_FORM_VALUE_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "integer": _parse_form_number,
    "number": _parse_form_number,
    "seed": _parse_form_number,
    "boolean": json.loads,
    "loras": json.loads,
}


def _steps_param(body: ImageRequestBody, model: Model) -> dict[str, int]:
    """Return the number of steps of the requested quality, unless the caller sets `steps`."""
    if getattr(body, "steps", None) is not None:
        return {}
    return scale_steps(model, STEPS_FACTOR_BY_QUALITY.get(body.quality or "auto", 1.0))


def _background_param(body: ImageRequestBody, model: Model) -> dict[str, str]:
    spec = model.parameters.get("background")
    background = body.background or (spec.default if spec else None)
    if background == "transparent" and body.output_format == "jpeg":
        raise invalid_field(
            "background",
            f"is transparent{'' if body.background else ' by default'}, which jpeg cannot be;"
            " use `output_format` png or webp, or `background` opaque",
        )
    if "background" in model.parameters:
        return {"background": body.background} if body.background else {}
    if body.background == "transparent":
        raise InvalidRequest(
            f"Model {model.id} does not support a transparent `background`",
            code="unsupported_background",
            param="background",
        )
    return {}


def image_response_fields(body: ImageRequestBody, outputs: Sequence[Output]) -> dict[str, Any]:
    """Return the fields in which a response describes its images; nothing for outputs of another kind."""
    if not outputs or not outputs[0].content_type.startswith("image/"):
        return {}
    first = outputs[0]
    return {
        "background": "transparent" if body.background == "transparent" else "opaque",
        "output_format": body.output_format or first.content_type.removeprefix("image/"),
        "quality": to_response_quality(body),
        "size": f"{first.width}x{first.height}",
    }


def to_response_quality(body: ImageRequestBody) -> str:
    """Return the quality under the name that responses use."""
    quality = body.quality or "auto"
    return _RESPONSE_QUALITIES.get(quality, quality)

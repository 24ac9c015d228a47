"""OpenAI's images API, as its official SDKs send it: fields of requests, and which model serves them.

Bodies are pydantic models: what validates a request is what documents it. Fields that OpenAI names and that
mean nothing here (`user`, `style`, `moderation`, `input_fidelity`, ...) are tolerated; every other field that
the model's manifest declares as a parameter goes to the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.catalog import Catalog, Model, parse_size
from orchestrator.errors import InvalidRequest
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Output
from orchestrator.media.formats import ImageEncoding
from orchestrator.web.dialects.model_selection import ImageToImageTask, scale_steps, to_image_params

#: Who edits where the caller names no model: the first of these, and then of all others, that takes what
#: came with the request.
PREFERRED_EDIT_MODELS = ("flux-1-kontext-dev", "qwen-image-edit", "flux-2-dev", "flux-1-fill-dev")
#: The same for variations, which come without a prompt.
PREFERRED_VARIATION_MODELS = ("flux-1-redux-dev",)

#: How many times a model's usual number of steps a quality is worth.
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
Quality = Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"]
#: Types of parameters that a form can only write as text.
_NON_TEXT_PARAMETER_TYPES = frozenset({"integer", "number", "boolean", "seed", "loras"})

BodyT = TypeVar("BodyT", bound="RequestBody")


class RequestBody(BaseModel):
    """Fields as they came: null is the same as not given."""

    model_config = ConfigDict(extra="allow", frozen=True)

    #: Fields that say how to ask and to answer, whatever a model may call its parameters.
    control_fields: ClassVar[frozenset[str]] = frozenset()

    webhook_url: str | None = Field(None, description="Is told when the job is finished.")


#: Base64 text, a data URL or an address; an uploaded file; or either text as `{"image_url": ...}`.
ImageInput = str | bytes | dict[str, str]


class ImageRequestBody(RequestBody):
    """What all requests for pictures have in common."""

    control_fields = frozenset(
        {"model", "size", "quality", "response_format", "output_format", "output_compression"}
        | {"background", "stream", "partial_images", "image", "images", "mask"}
    )

    model: str | None = Field(None, description="Id or alias of a model.")
    n: int | None = Field(None, description="Number of results.")
    size: str | None = Field(None, description="WIDTHxHEIGHT; `auto` leaves it to the model.")
    quality: Quality | None = Field(
        None, description="Share of the model's usual steps, unless `steps` is set."
    )
    response_format: Literal["b64_json", "url"] | None = Field(None, description="Default: b64_json.")
    output_format: Literal["png", "jpeg", "webp"] | None = Field(None, description="Default: png.")
    output_compression: int | None = Field(
        None, ge=0, le=100, description="Quality of a JPEG or WebP in percent; default: 100."
    )
    background: Literal["transparent", "opaque", "auto"] | None = Field(
        None, description="`transparent` needs a model with a `background` parameter."
    )
    stream: bool | None = Field(None, description="Answer with server-sent events.")
    partial_images: int | None = Field(
        None, ge=0, le=3, description="How many unfinished pictures a stream shows."
    )

    @property
    def wants_urls(self) -> bool:
        """Whether the answer shall name URLs instead of carrying the files."""
        return self.response_format == "url"

    @property
    def encoding(self) -> ImageEncoding | None:
        """What pictures shall be delivered as; None: as the model makes them."""
        if self.output_format is None:
            return None
        best = 100 if self.output_compression is None else self.output_compression
        return ImageEncoding(
            f"image/{self.output_format}", None if self.output_format == "png" else max(1, best)
        )


class ImageInputRequestBody(ImageRequestBody):
    """What requests have in common that may come with pictures."""

    image: ImageInput | list[ImageInput] | None = Field(None, description="One picture or several.")
    images: list[ImageInput] | None = Field(None, description="The same, or more of them.")
    mask: ImageInput | None = Field(
        None, description="Of the picture's size; what is transparent is replaced."
    )

    def input_images(self) -> list[str | bytes]:
        """Raises InvalidRequest."""
        first = self.image if isinstance(self.image, list) else [] if self.image is None else [self.image]
        return [unwrap_image_input(picture, "image") for picture in (*first, *(self.images or ()))]

    def mask_params(self) -> dict[str, str | bytes]:
        """Raises InvalidRequest."""
        return {} if self.mask is None else {"mask": unwrap_image_input(self.mask, "mask")}


class ImageEditBody(ImageInputRequestBody):
    """`POST /images/edits`."""

    markup: ImageInput | None = Field(
        None, description="Not supported: say it in the prompt, or with a mask."
    )
    prompt: str | None = Field(None, description="What to change.")


class ImageVariationBody(ImageRequestBody):
    """`POST /images/variations`."""

    image: ImageInput | None = Field(None, description="The picture to vary.")


def parse_body(body_type: type[BodyT], fields: Mapping[str, Any], *, form: bool) -> BodyT:
    """The fields of a body, checked. A form's are all text, so that numbers are read from it.

    Raises InvalidRequest (`invalid_FIELD`).
    """
    try:
        return body_type.model_validate(fields, strict=not form)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "body"
        reason = first["msg"].replace("Input should be", "must be")
        raise InvalidRequest(f"`{name}` {reason}", code=f"invalid_{name}", param=name) from error


def to_edit_request(
    body: ImageEditBody, catalog: Catalog, *, form: bool, idempotency_key: str | None
) -> GenerationRequest:
    """What an edit asks for, of the model it names or of one that can do it. Raises InvalidRequest."""
    pictures, mask = body.input_images(), body.mask_params()
    if not pictures:
        raise InvalidRequest("`image` is required", code="missing_image", param="image")
    if body.markup is not None:
        raise InvalidRequest("`markup` is not supported", code="unsupported_markup", param="markup")
    model = ImageToImageTask(image_count=len(pictures), has_mask=bool(mask)).select_model(
        catalog, body.model, PREFERRED_EDIT_MODELS
    )
    params = to_model_params(body, model, form=form) | to_image_params(model, pictures) | mask
    return GenerationRequest(
        model=model.id,
        params=params,
        idempotency_key=idempotency_key,
        webhook_url=body.webhook_url,
    )


def to_variation_request(
    body: ImageVariationBody, catalog: Catalog, *, form: bool, idempotency_key: str | None
) -> GenerationRequest:
    """What a variation asks for. Raises InvalidRequest."""
    if body.image is None:
        raise InvalidRequest("`image` is required", code="missing_image", param="image")
    picture = unwrap_image_input(body.image, "image")
    model = ImageToImageTask(image_count=1, has_prompt=False).select_model(
        catalog, body.model, PREFERRED_VARIATION_MODELS
    )
    params = to_model_params(body, model, form=form) | to_image_params(model, [picture])
    return GenerationRequest(
        model=model.id,
        params=params,
        idempotency_key=idempotency_key,
        webhook_url=body.webhook_url,
    )


def unwrap_image_input(image: ImageInput, field: str) -> str | bytes:
    """A picture as the service takes it. Raises InvalidRequest."""
    if not isinstance(image, dict):
        return image
    if "image_url" not in image:
        raise InvalidRequest(
            f"`{field}` must come with an `image_url`; files are not kept here",
            code=f"invalid_{field}",
            param=field,
        )
    return image["image_url"]


def to_model_params(body: ImageRequestBody, model: Model, *, form: bool) -> dict[str, Any]:
    """The model's parameters among the fields of a body. Raises InvalidRequest."""
    _check_response_options(body, model)
    params = passthrough_params(body, model, form=form)
    return params | size_to_dimensions(body.size) | _steps_param(body, model) | _background_param(body, model)


def passthrough_params(body: RequestBody, model: Model, *, form: bool) -> dict[str, Any]:
    """The fields of a body that go to the model under the names they have, pictures aside."""
    given = {name: value for name, value in body if value is not None and name not in body.control_fields}
    params = {name: value for name, value in given.items() if name in model.parameters or name == "n"}
    if form:
        params = {name: _parse_form_value(model, name, value) for name, value in params.items()}
    return params


def _check_response_options(body: ImageRequestBody, model: Model) -> None:
    """Raises InvalidRequest where pictures are asked for in a way that they do not come in."""
    if not model.makes_images and (body.stream or body.output_format):
        field = "stream" if body.stream else "output_format"
        raise InvalidRequest(
            f"`{field}` is for pictures, and {model.id} makes none", code=f"invalid_{field}", param=field
        )
    if body.stream and body.wants_urls:
        raise InvalidRequest(
            "A stream carries its pictures: `response_format` must be b64_json",
            code="invalid_response_format",
            param="response_format",
        )
    if body.output_compression not in (None, 100) and body.output_format in (None, "png"):
        raise InvalidRequest(
            "`output_compression` is for jpeg and webp",
            code="invalid_output_compression",
            param="output_compression",
        )


def _parse_form_value(model: Model, name: str, value: Any) -> Any:
    """What text stands for; what can not be read stays as it is, and the model refuses it."""
    spec = model.parameters.get(name)
    if spec is None or spec.type not in _NON_TEXT_PARAMETER_TYPES or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def size_to_dimensions(size: str | None) -> dict[str, int]:
    """`auto`, as newer SDKs say it, leaves the size to the model."""
    if size is None or size == "auto":
        return {}
    width, height = parse_size(size)
    return {"width": width, "height": height}


def _steps_param(body: ImageRequestBody, model: Model) -> dict[str, int]:
    """Steps by quality, where neither the caller says how many nor the model samples in a fixed way."""
    if getattr(body, "steps", None) is not None:
        return {}
    return scale_steps(model, STEPS_FACTOR_BY_QUALITY.get(body.quality or "auto", 1.0))


def _background_param(body: ImageRequestBody, model: Model) -> dict[str, str]:
    if body.background == "transparent" and body.output_format == "jpeg":
        raise InvalidRequest(
            "A JPEG has no transparency: ask for png or webp", code="invalid_background", param="background"
        )
    if "background" in model.parameters:
        return {"background": body.background} if body.background else {}
    if body.background == "transparent":
        raise InvalidRequest(
            f"{model.id} makes no transparent background", code="unsupported_background", param="background"
        )
    return {}


def image_response_fields(body: ImageRequestBody, outputs: Sequence[Output]) -> dict[str, str]:
    """What an answer says of its pictures; nothing of films."""
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
    """The quality in the words of answers."""
    words = {None: "medium", "auto": "medium", "standard": "medium", "hd": "high"}
    return words.get(body.quality, body.quality or "medium")

"""Base classes of the request bodies of Pixazo's endpoints, and their error messages.

The attributes of a body are named like the parameters of our models; the name that a field has in the
document, which differs between endpoints, is its alias. So one loop converts any body to parameters, and an
error about a parameter finds the field that it came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from orchestrator.catalog import Model
from orchestrator.errors import InvalidRequest
from orchestrator.media.formats import ImageEncoding
from orchestrator.web.dialects.dimensions import round_down_to_step
from orchestrator.web.dialects.model_selection import check_image_count, to_image_params

PixazoBodyT = TypeVar("PixazoBodyT", bound="PixazoBody")

#: A `data:` URL contains the file itself.
_URL_PATTERN = re.compile(r"https?://[^\s/]|data:", re.IGNORECASE)
INVALID_WEBHOOK_MESSAGE = "Invalid webhook URL"
_WEBHOOK_FIELDS = frozenset({"webhook", "webhook_url"})
#: Parameters that bodies set from `input_image` or `input_images`.
_IMAGE_PARAMETERS = frozenset({"image", "images"})
#: Parameters that bodies may set together, from the name of a size.
_SIZE_PARAMETERS = frozenset({"width", "height", "size"})

CONTENT_TYPE_BY_FORMAT = {"jpeg": "image/jpeg", "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def _check_url(text: str) -> str:
    if not _URL_PATTERN.match(text):
        raise ValueError("must be a URL")
    return text


Url = Annotated[str, AfterValidator(_check_url), WithJsonSchema({"type": "string", "format": "uri"})]
ImageUrl = Annotated[Url, Field(description="http(s) URL or data URL of an image.")]


class PixazoBody(BaseModel):
    """Fields of a request. Null means the same as not given; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def parse(cls: type[PixazoBodyT], fields: Mapping[str, Any]) -> PixazoBodyT:
        """Validate the fields of a request.

        Raises InvalidRequest with the document's phrases (`missing_FIELD`, `invalid_FIELD`).
        """
        try:
            return cls.model_validate(fields, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise cls._invalid_field_error(str(first["loc"][0]), first["type"]) from error

    @classmethod
    def translate_error(cls, error: InvalidRequest) -> InvalidRequest:
        """Return an error about a model parameter as one about the request field that it came from."""
        name = cls._field_name(error.param or "")
        if name in _WEBHOOK_FIELDS:
            return InvalidRequest(INVALID_WEBHOOK_MESSAGE, code=error.code, param=name)
        is_missing = error.code.startswith("missing_")
        message = f"{name} is required" if is_missing else error.message.replace(f"`{error.param}`", name)
        return InvalidRequest(message, code=error.code, param=name)

    @classmethod
    def _field_name(cls, param: str) -> str:
        """Return the document's name of the field that sets a model parameter."""
        attribute = param
        if param in _IMAGE_PARAMETERS:
            attribute = next(
                (name for name in ("input_image", "input_images") if name in cls.model_fields), param
            )
        if attribute in _SIZE_PARAMETERS and attribute not in cls.model_fields:
            attribute = next(
                (name for name in ("image_size", "aspect_ratio") if name in cls.model_fields), attribute
            )
        if param == "webhook_url":
            attribute = next((name for name in _WEBHOOK_FIELDS if name in cls.model_fields), param)
        field = cls.model_fields.get(attribute)
        return (field.alias if field else None) or attribute

    @classmethod
    def _invalid_field_error(cls, name: str, problem: str) -> InvalidRequest:
        """Return the error for a field; `problem` is the type of pydantic's error."""
        if name in _WEBHOOK_FIELDS:
            return InvalidRequest(INVALID_WEBHOOK_MESSAGE, code=f"invalid_{name}", param=name)
        schema = cls.model_json_schema()
        expected = _describe_expected(schema["properties"][name], problem)
        is_required = name in schema.get("required", ())
        is_missing = problem == "missing" or (problem == "string_type" and is_required)
        reason = f"is required and must be {expected}" if is_missing else f"must be {expected}"
        code = f"missing_{name}" if problem == "missing" else f"invalid_{name}"
        return InvalidRequest(f"{name} {reason}", code=code, param=name)


class EndpointBody(PixazoBody):
    """Body of an endpoint that runs a model."""

    def to_params(self, model: Model) -> dict[str, Any]:
        """Return the model parameters that the body sets. Raises InvalidRequest."""
        own = {name: value for name, value in self if name in model.parameters or name == "n"}
        return {name: value for name, value in own.items() if value is not None} | self._dimensions(model)

    @property
    def encoding(self) -> ImageEncoding | None:
        """The format to deliver images in, or None for the format that the model makes."""
        format, quality = getattr(self, "output_format", None), getattr(self, "quality", None)
        if format is None:
            return None
        if quality is None or format == "png":
            return ImageEncoding(CONTENT_TYPE_BY_FORMAT[format])
        return ImageEncoding(CONTENT_TYPE_BY_FORMAT[format], max(1, quality))

    @property
    def match_input_size(self) -> bool:
        """Whether the result has the size of the input image."""
        return False

    @property
    def webhook_receiver_url(self) -> str | None:
        """URL that is called when the job is finished, if the body names one."""
        return getattr(self, "webhook_url", None)

    @property
    def webhook_event_filter(self) -> tuple[str, ...] | None:
        """Names of the events that the webhook receives, or None for all."""
        return None

    @property
    def waits_for_result(self) -> bool:
        """Whether the response is the result, if it is finished in time."""
        return bool(getattr(self, "sync_mode", False))

    def _dimensions(self, model: Model) -> dict[str, int]:
        """Return width and height that are given in pixels, rounded down to what the model supports."""
        given = {name: getattr(self, name, None) for name in ("width", "height")}
        return {
            name: round_down_to_step(model, name, value) for name, value in given.items() if value is not None
        }


class QueuedBody(EndpointBody):
    """Body of an endpoint whose requests are polled or reported to a webhook."""

    webhook_url: Annotated[
        Url | None, Field(alias="webhook", description="URL that is called when the request is finished.")
    ] = None
    webhook_events: Annotated[
        list[Literal["completed", "failed"]] | None,
        Field(
            alias="webhook_events_filter",
            min_length=1,
            description="Events that the webhook receives; default: both.",
        ),
    ] = None

    @property
    def webhook_event_filter(self) -> tuple[str, ...] | None:
        return None if self.webhook_events is None else tuple(self.webhook_events)


class QueuedImageBody(QueuedBody):
    """Body of such an endpoint with an input image."""

    input_image: ImageUrl

    def to_params(self, model: Model) -> dict[str, Any]:
        return super().to_params(model) | single_image_params(model, self.input_image)


def single_image_params(model: Model, image: str) -> dict[str, Any]:
    """Return an image under the name of the model's parameter. Raises InvalidRequest if it accepts none."""
    check_image_count(model, 1)
    return to_image_params(model, [image])


def _describe_expected(schema: Mapping[str, Any], problem: str) -> str:
    """Describe the values that a JSON Schema allows: `one of: jpg, png`, `an integer in [0, 2]`."""
    schema = next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)
    if "enum" in schema or "const" in schema:
        return f"one of: {', '.join(str(value) for value in schema.get('enum', [schema.get('const')]))}"
    match schema["type"]:
        case "integer" | "number" as kind:
            return _describe_number(schema, kind)
        case "array":
            return f"a non-empty array of {_describe_items(schema['items'])}"
        case "string" if schema.get("format") == "uri":
            return "a string URL" if problem in ("missing", "string_type") else "a valid URL"
        case "string":
            return "a string"
        case kind:
            return f"a {kind}"


def _describe_items(schema: Mapping[str, Any]) -> str:
    """Describe the items of an array: `URLs`, `completed, failed`."""
    return ", ".join(schema["enum"]) if "enum" in schema else "URLs"


def _describe_number(schema: Mapping[str, Any], kind: str) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    article = f"an {kind}" if kind == "integer" else f"a {kind}"
    if least is not None and most is not None:
        return f"{article} in [{least}, {most}]"
    signs: dict[Any, str] = {0: f"a non-negative {kind}", 1: f"a positive {kind}"}
    return signs.get(least, article)

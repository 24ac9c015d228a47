"""The fields of Pixazo's bodies, and what is said of a field that is wrong.

A body's attributes have the names that our models' parameters have; the document's own name of a field, which
is another one at each endpoint, is its alias. So one loop makes parameters of any body, and an error about a
parameter finds the field that it came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, WithJsonSchema, model_validator

from orchestrator.errors import InvalidRequest

PixazoBodyT = TypeVar("PixazoBodyT", bound="PixazoBody")

#: What may be sent in place of an address: the file itself.
_URL_PATTERN = re.compile(r"https?://[^\s/]|data:", re.IGNORECASE)
INVALID_WEBHOOK_MESSAGE = "Invalid webhook URL"
_WEBHOOK_FIELDS = frozenset({"webhook", "webhook_url"})
#: Parameters that bodies have as `picture`, and those that are set together by the name of a size.
_IMAGE_PARAMETERS = frozenset({"image", "images"})
_SIZE_PARAMETERS = frozenset({"width", "height", "size"})


def _check_url(text: str) -> str:
    if not _URL_PATTERN.match(text):
        raise ValueError("is no address")
    return text


Url = Annotated[str, AfterValidator(_check_url), WithJsonSchema({"type": "string", "format": "uri"})]


class PixazoBody(BaseModel):
    """Fields as they came: null is the same as not given, and what the document does not name is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def parse(cls: type[PixazoBodyT], fields: Mapping[str, Any]) -> PixazoBodyT:
        """Raises InvalidRequest in the document's phrases (`missing_FIELD`, `invalid_FIELD`)."""
        try:
            return cls.model_validate(fields, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise cls._invalid_field_error(str(first["loc"][0]), first["type"]) from error

    @classmethod
    def translate_error(cls, error: InvalidRequest) -> InvalidRequest:
        """An error about a parameter of a model, told of the field that it came from."""
        name = cls._field_name(error.param or "")
        if name in _WEBHOOK_FIELDS:
            return InvalidRequest(INVALID_WEBHOOK_MESSAGE, code=error.code, param=name)
        lacking = error.code.startswith("missing_")
        message = f"{name} is required" if lacking else error.message.replace(f"`{error.param}`", name)
        return InvalidRequest(message, code=error.code, param=name)

    @classmethod
    def _field_name(cls, param: str) -> str:
        """The document's name for one of our parameters."""
        ours = param
        if param in _IMAGE_PARAMETERS:
            ours = next((name for name in ("input_image", "input_images") if name in cls.model_fields), param)
        if ours in _SIZE_PARAMETERS and ours not in cls.model_fields:
            ours = next((name for name in ("image_size", "aspect_ratio") if name in cls.model_fields), ours)
        if param == "webhook_url":
            ours = next((name for name in _WEBHOOK_FIELDS if name in cls.model_fields), param)
        field = cls.model_fields.get(ours)
        return (field.alias if field else None) or ours

    @classmethod
    def _invalid_field_error(cls, name: str, problem: str) -> InvalidRequest:
        if name in _WEBHOOK_FIELDS:
            return InvalidRequest(INVALID_WEBHOOK_MESSAGE, code=f"invalid_{name}", param=name)
        schema = cls.model_json_schema()
        wanted = _describe_expected(schema["properties"][name], problem)
        lacking = problem == "missing" or (problem == "string_type" and name in schema.get("required", ()))
        reason = f"is required and must be {wanted}" if lacking else f"must be {wanted}"
        code = f"missing_{name}" if problem == "missing" else f"invalid_{name}"
        return InvalidRequest(f"{name} {reason}", code=code, param=name)


def _describe_expected(schema: Mapping[str, Any], problem: str) -> str:
    """What a field must be, by its JSON Schema: `one of: jpg, png`, `an integer in [0, 2]`."""
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
    """What the items of a list must be: `URLs`, `completed, failed`."""
    return ", ".join(schema["enum"]) if "enum" in schema else "URLs"


def _describe_number(schema: Mapping[str, Any], kind: str) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    article = f"an {kind}" if kind == "integer" else f"a {kind}"
    if least is not None and most is not None:
        return f"{article} in [{least}, {most}]"
    signs: dict[Any, str] = {0: f"a non-negative {kind}", 1: f"a positive {kind}"}
    return signs.get(least, article)

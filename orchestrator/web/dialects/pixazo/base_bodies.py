"""Base classes of the request bodies of Pixazo's endpoints, and their error messages.

The attributes of a body are named like the parameters of our models; the name that a field has in the
document, which differs between endpoints, is its alias. So one loop converts any body to parameters, and an
error about a parameter finds the field that it came from.

Nothing that a caller sends is dropped without a word: a field is the document's, or another name of one, or a
further parameter of the model, or one without effect that gives a warning, or an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from orchestrator.catalog import Model
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.media.formats import ImageEncoding
from orchestrator.similar_names import find_similar
from orchestrator.web.dialects.dimensions import asked_aspect_ratio, pixels_by_shape, size_to_dimensions
from orchestrator.web.dialects.input_image_models import max_input_images
from orchestrator.web.dialects.lora_fields import LORA_FIELDS, LoraFields, lora_params
from orchestrator.web.dialects.model_selection import check_image_count, to_image_params
from orchestrator.web.dialects.parameter_names import (
    WITHOUT_EFFECT,
    ModelParameters,
    rename_synonyms,
    take_parameters,
)
from orchestrator.web.dialects.pixazo.field_phrases import describe_expected
from orchestrator.web.dialects.pixazo.input_files import ImageInput, Url
from orchestrator.web.dialects.request_body import parse_body
from orchestrator.web.http.validation_errors import format_rejected_value

PixazoBodyT = TypeVar("PixazoBodyT", bound="PixazoBody")

INVALID_WEBHOOK_MESSAGE = "Invalid webhook URL"
_WEBHOOK_FIELDS = frozenset({"webhook", "webhook_url"})
#: Parameters that bodies set from `input_image` or `input_images`.
_IMAGE_PARAMETERS = frozenset({"image", "images"})
#: Parameters that bodies may set together, from the name of a size.
_SIZE_PARAMETERS = frozenset({"width", "height", "size"})
#: Words for a size that a body without such a field takes, too.
_SIZE_WORDS = frozenset({"size", "aspect_ratio", "resolution"})
#: Names that are understood beside the document's fields and the parameters of the model.
_FURTHER_NAMES = frozenset({"negative_prompt", *_SIZE_WORDS, *WITHOUT_EFFECT})
#: How messages about input files begin, instead of naming a field.
_FILE_SUBJECTS = ("The image ", "The dataset ")

#: The document allows 0, too.
LOWEST_QUALITY = 1
CONTENT_TYPE_BY_FORMAT = {"jpeg": "image/jpeg", "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


class PixazoBody(BaseModel):
    """Fields of a request. Null means the same as not given."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    #: Whether errors state the value that was given; the document gives the whole texts of one endpoint.
    states_values: ClassVar[bool] = True

    #: The caller's name of each field that has another name in the document.
    _given_names: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def parse(
        cls: type[PixazoBodyT], fields: Mapping[str, Any], parameters: Iterable[str] = ()
    ) -> PixazoBodyT:
        """Validate the fields of a request; `parameters` are those of the model.

        Other names of the document's fields are replaced first. Raises InvalidRequest with the document's
        phrases (`missing_FIELD`, `invalid_FIELD`, `unknown_parameter`, `conflicting_fields`).
        """
        names = {name: field.alias or name for name, field in cls.model_fields.items()}
        further = frozenset({*parameters, *_FURTHER_NAMES})
        named = rename_synonyms(
            fields, frozenset(names.values()), further, own_synonyms=names | cls._parameter_fields()
        )
        try:
            body = cls.model_validate(dict(named.values), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0])
            if first["type"] == "extra_forbidden":
                raise cls._unknown_field_error(named.given_names.get(name, name), names.values()) from error
            shown = named.given_names.get(name, name)
            raise cls._invalid_field_error(name, shown, first["type"], first["input"]) from error
        body._given_names = named.given_names
        return body

    @classmethod
    def _parameter_fields(cls) -> dict[str, str]:
        """Return the document's field by the parameter that it sets, for attributes with another name."""
        found: dict[str, str] = {}
        pairs = (("image", "input_image"), ("images", "input_images"), ("webhook", "webhook_url"))
        for parameter, attribute in pairs:
            field = cls.model_fields.get(attribute)
            if field is not None and parameter not in cls.model_fields:
                found[parameter] = field.alias or attribute
        return found

    def translate_error(self, error: InvalidRequest) -> InvalidRequest:
        """Return an error about a model parameter as one about the request field that it came from."""
        name = self._field_of(error.param or "")
        if name in _WEBHOOK_FIELDS:
            return InvalidRequest(INVALID_WEBHOOK_MESSAGE, code=error.code, param=name)
        shown = self._given_names.get(name, name)
        if error.code.startswith("missing_"):
            return InvalidRequest(f"{shown} is required", code=error.code, param=shown)
        if error.code == "conflicting_fields" and error.param in _SIZE_PARAMETERS:
            # The message names both fields, and what of them is in conflict.
            return InvalidRequest(error.message.replace("`", ""), code=error.code, param=shown)
        message = error.message.replace(f"`{error.param}`", shown)
        for subject in _FILE_SUBJECTS:
            message = message.replace(f"{shown}: {subject}", subject, 1)
            if message.startswith(subject):
                message = f"{shown} {message.removeprefix(subject)}".removesuffix(".")
        return InvalidRequest(message, code=error.code, param=shown, details=error.details)

    def names_of(self, params: Iterable[str]) -> dict[str, str]:
        """Return the caller's names of the fields that set these parameters, where they are others."""
        names: dict[str, str] = {}
        for param in params:
            field = self._field_of(param)
            shown = self._given_names.get(field, field)
            if shown != param and param not in _SIZE_PARAMETERS | _IMAGE_PARAMETERS:
                names[param] = shown
        return names

    def _field_of(self, param: str) -> str:
        """Return the field of the request that sets a model parameter."""
        if param in _SIZE_PARAMETERS and param not in type(self).model_fields:
            # A size by another name than the document's stays as it was sent.
            sent = self.model_extra or {}
            further = next((name for name in (param, *sorted(_SIZE_WORDS)) if name in sent), None)
            if further is not None:
                return further
        return self._document_name(param)

    @classmethod
    def _document_name(cls, param: str) -> str:
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
    def _invalid_field_error(cls, name: str, shown: str, problem: str, given: object) -> InvalidRequest:
        """Return the error for a field that the caller called `shown`; `problem` is pydantic's type."""
        if name in _WEBHOOK_FIELDS:
            return InvalidRequest(INVALID_WEBHOOK_MESSAGE, code=f"invalid_{shown}", param=shown)
        schema = cls.model_json_schema()
        expected = describe_expected(schema["properties"][name], problem)
        is_required = name in schema.get("required", ())
        is_missing = problem == "missing" or (problem == "string_type" and is_required)
        reason = f"is required and must be {expected}" if is_missing else f"must be {expected}"
        code = f"missing_{shown}" if problem == "missing" else f"invalid_{shown}"
        states_value = cls.states_values and problem != "missing"
        value = format_rejected_value(given) if states_value else ""
        return InvalidRequest(f"{shown} {reason}{value}", code=code, param=shown)

    @staticmethod
    def _unknown_field_error(name: str, known: Any) -> InvalidRequest:
        """Return the error for a field that neither the document nor the model has."""
        known = sorted(known)
        nearest = find_similar(name, known)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        # Shortened, since the name may be any text that a caller sent.
        shown = name[:60]
        return InvalidRequest(
            f"{shown} is not a parameter of this endpoint{hint} Its parameters are: {', '.join(known)}",
            code="unknown_parameter",
            param=shown,
        )


class EndpointBody(PixazoBody):
    """Body of an endpoint that runs a model. Further parameters of the model are accepted."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})

    #: Attributes that are no parameters of models: the body interprets them itself.
    interpreted: ClassVar[frozenset[str]] = frozenset(
        {"webhook_url", "webhook_events", "sync_mode", "output_format", "quality", "width", "height"}
    )
    #: Whether the response has room for one result only.
    makes_one: ClassVar[bool] = False

    def to_parameters(self, model: Model) -> ModelParameters:
        """Return the model parameters that the body sets, with warnings. Raises InvalidRequest."""
        own = type(self).model_fields.keys() - self.interpreted
        given = {name: getattr(self, name) for name in own if name in self.model_fields_set}
        defaults = {
            name: getattr(self, name)
            for name in own
            if name not in self.model_fields_set and (name in model.parameters or name == "n")
        }
        further = _read_loras(model, _name_images(model, self._further_fields(model)))
        sizes = {name: further.pop(name) for name in _SIZE_WORDS & further.keys()}
        taken = take_parameters(model, {**defaults, **given, **further})
        taken = taken.with_computed(self._dimensions(model), self._documented_size_field())
        size_field = next(iter(sizes), "")
        shown = self._given_names.get(size_field, size_field)
        taken = taken.with_computed(_read_sizes(model, sizes), shown)
        return taken.extended({}, *self._format_warnings())

    def _documented_size_field(self) -> str:
        """Return the caller's name of a field of the document that sets width and height together."""
        for name in ("image_size", "aspect_ratio"):
            if name in self.model_fields_set and name in self.interpreted:
                field = type(self).model_fields[name].alias or name
                return self._given_names.get(field, field)
        return ""

    @property
    def encoding(self) -> ImageEncoding | None:
        """The format to deliver images in, or None for the format that the model makes."""
        if "output_format" not in type(self).model_fields:
            return None
        format, quality = getattr(self, "output_format", None), getattr(self, "quality", None)
        if format is None:
            return None
        if quality is None or format == "png":
            return ImageEncoding(CONTENT_TYPE_BY_FORMAT[format])
        return ImageEncoding(CONTENT_TYPE_BY_FORMAT[format], max(quality, LOWEST_QUALITY))

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
        """Return width and height in pixels.

        The document's defaults are for images made from a prompt without another size: those made from images
        follow the shape of the first one.
        """
        extra = self.model_extra or {}
        has_other = any(extra.get(name) for name in _IMAGE_PARAMETERS | _SIZE_WORDS)
        given = {
            name: getattr(self, name, None)
            for name in ("width", "height")
            if name in self.model_fields_set or not has_other
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def pixels_by_shape(self) -> Callable[[float], float] | None:
        """The largest number of pixels by aspect ratio, if the request sets a resolution without a shape."""
        size, aspect_ratio, resolution = (
            getattr(self, name, None) for name in ("size", "aspect_ratio", "resolution")
        )
        return pixels_by_shape(size, aspect_ratio, resolution)

    @property
    def asked_aspect_ratio(self) -> Fraction | None:
        """The aspect ratio that the request asks for by its name. Raises InvalidRequest."""
        return asked_aspect_ratio(getattr(self, "size", None), getattr(self, "aspect_ratio", None))

    def _further_fields(self, model: Model) -> dict[str, Any]:
        """Return the fields that are not the document's. Raises InvalidRequest for unknown ones."""
        further = dict(self.model_extra or {})
        documented = {field.alias or name for name, field in type(self).model_fields.items()}
        taken = {*model.parameters} - type(self).model_fields.keys() | self._dialect_fields(model)
        known = {*model.parameters, *taken, *_FURTHER_NAMES}
        for name in further:
            if name not in known:
                shown = documented | taken - {"mask_channel"}
                raise self._unknown_field_error(self._given_names.get(name, name), shown)
        return further

    def _dialect_fields(self, model: Model) -> set[str]:
        """Return the fields of other APIs that set parameters of the model."""
        own, has_images = type(self).model_fields.keys(), max_input_images(model) > 0
        has_own_images = bool({"input_image", "input_images"} & own)
        fields = set() if self.makes_one else {"n"}
        fields |= _SIZE_WORDS - own if model.output_sizes else set()
        fields |= _IMAGE_PARAMETERS if has_images and not has_own_images else set()
        return fields | (LORA_FIELDS if "loras" in model.parameters else set())

    def _format_warnings(self) -> list[str]:
        """Return sentences about fields of the format that have no effect."""
        if "quality" not in self.model_fields_set:
            return []
        name = type(self).model_fields["quality"].alias or "quality"
        if getattr(self, "output_format", None) == "png":
            return [f"`{name}` has no effect: a png has no quality"]
        is_too_low = getattr(self, "quality", LOWEST_QUALITY) < LOWEST_QUALITY
        return [f"`{name}` is {LOWEST_QUALITY}, the lowest quality"] if is_too_low else []


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

    interpreted: ClassVar[frozenset[str]] = QueuedBody.interpreted | {"input_image"}

    input_image: ImageInput

    def to_parameters(self, model: Model) -> ModelParameters:
        return super().to_parameters(model).with_computed(single_image_params(model, self.input_image))


def single_image_params(model: Model, image: str) -> dict[str, Any]:
    """Return an image under the name of the model's parameter. Raises InvalidRequest if it accepts none."""
    check_image_count(model, 1)
    return to_image_params(model, [image])


def _name_images(model: Model, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with images under the name of the model's parameter."""
    image, images = fields.get("image"), fields.get("images")
    if image and "image" not in model.parameters and "images" in model.parameters:
        rest = images if isinstance(images, list) else []
        return {name: value for name, value in fields.items() if name != "image"} | {"images": [image, *rest]}
    if images and "images" not in model.parameters and isinstance(images, list):
        check_image_count(model, len(images) + bool(image), "images")
        return {name: value for name, value in fields.items() if name != "images"} | {"image": images[0]}
    return fields


def _read_loras(model: Model, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with LoRAs by name as the model's parameter. Raises InvalidRequest."""
    given = {name: value for name, value in fields.items() if name in LORA_FIELDS}
    if not given:
        return fields
    loras = lora_params(parse_body(LoraFields, given), model)
    rest = {name: value for name, value in fields.items() if name not in LORA_FIELDS}
    return dict(ModelParameters(rest).with_computed(loras, "lora_weights").values)


def _read_sizes(model: Model, sizes: Mapping[str, Any]) -> dict[str, int]:
    """Return the width and height that size fields of other APIs ask for. Raises InvalidRequest."""
    for name, value in sizes.items():
        if not isinstance(value, str) and not (name == "size" and isinstance(value, dict)):
            raise invalid_field(name, "must be a string")
    return size_to_dimensions(
        model,
        sizes.get("size"),
        aspect_ratio=sizes.get("aspect_ratio"),
        resolution=sizes.get("resolution"),
    )

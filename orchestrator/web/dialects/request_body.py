"""Request bodies of the dialects: base class, validation, and the GenerationRequest made of one."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from pydantic import ConfigDict, Field, PrivateAttr, ValidationError

from orchestrator.catalog import Catalog, Model
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.field_names import errors_name_fields
from orchestrator.intake.model_names import errors_name_model
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.web.dialects.dimensions import asked_aspect_ratio, pixels_by_shape
from orchestrator.web.dialects.input_image_models import max_input_images
from orchestrator.web.dialects.parameter_names import SYNONYMS, ModelParameters, our_name, rename_synonyms
from orchestrator.web.http.form_fields import MEANINGFUL_EMPTY_FIELDS
from orchestrator.web.http.number_fields import StrictNumbersModel
from orchestrator.web.http.validation_errors import describe_problem

#: Parameters of models that are lists.
LIST_PARAMETERS = frozenset({"images", "loras", "loras2"})
RequestBodyT = TypeVar("RequestBodyT", bound="RequestBody")
ResultT = TypeVar("ResultT")
P = ParamSpec("P")


def _always(model: Model) -> bool:
    return True


def _never(model: Model) -> bool:
    return False


def _has_sizes(model: Model) -> bool:
    return model.output_sizes is not None


def _has_length(model: Model) -> bool:
    return {"num_frames", "fps"} <= model.parameters.keys()


def _has_images(model: Model) -> bool:
    return max_input_images(model) > 0


def _has_loras(model: Model) -> bool:
    return "loras" in model.parameters


def _makes_images(model: Model) -> bool:
    return model.makes_images


#: Which models take a field of a dialect, for those that not every model takes.
_FIELD_CONDITIONS: Mapping[str, Callable[[Model], bool]] = MappingProxyType(
    {
        "model": _never,
        "markup": _never,
        # The name under which PixelAPI lists `cfg_scale`.
        "guidance_scale": _never,
        **dict.fromkeys(("size", "aspect_ratio", "resolution"), _has_sizes),
        **dict.fromkeys(("duration", "seconds"), _has_length),
        **dict.fromkeys(("image", "image_url", "images", "reference_images", "input_reference"), _has_images),
        **dict.fromkeys(("lora_weights", "lora_scale"), _has_loras),
        "mask": lambda model: "mask" in model.parameters,
        **dict.fromkeys(("output_format", "output_compression", "stream", "partial_images"), _makes_images),
    }
)


class RequestBody(StrictNumbersModel):
    """Fields of a request under our names. Null means the same as not given; other fields are kept, since
    they may be parameters of the model.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    #: Fields that the dialect interprets itself, even if a model has a parameter of that name.
    control_fields: ClassVar[frozenset[str]] = frozenset()
    #: The dialect's own field, by the name of the parameter that it sets.
    synonyms: ClassVar[Mapping[str, str]] = MappingProxyType({})

    webhook_url: str | None = Field(None, description="URL that is called when the job is finished.")

    #: The caller's name of each field that was renamed.
    _given_names: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def given_names(self) -> Mapping[str, str]:
        """The caller's name of each field that has another name here."""
        return self._given_names

    @property
    def passed_fields(self) -> dict[str, Any]:
        """The fields that are passed to the model under their own names."""
        own = self.control_fields & type(self).model_fields.keys() | RequestBody.model_fields.keys()
        return {name: value for name, value in self if value is not None and name not in own}

    def taken_fields(self, model: Model) -> list[str]:
        """Return the fields of the dialect that a request to the model may have, for errors."""
        own = self.control_fields & type(self).model_fields.keys() | RequestBody.model_fields.keys()
        names = (name for name in type(self).model_fields if name in own)
        return [name for name in names if _FIELD_CONDITIONS.get(name, _always)(model)]

    def unknown_parameter(self, model: Model, name: str) -> InvalidRequest:
        """Return the error for a field that the model does not take, with those that it takes."""
        return model.unknown_parameter(name, SYNONYMS, self.taken_fields(model))

    def to_generation_request(
        self, model: Model, params: ModelParameters, idempotency_key: str | None
    ) -> GenerationRequest:
        """Return the request to run `model` with `params` at the default price list."""
        return GenerationRequest(
            model=getattr(self, "model", None) or model.id,
            served_by=model.id,
            params=params.values,
            warnings=params.warnings,
            field_names=self.given_names,
            pixels_by_shape=pixels_by_shape(
                getattr(self, "size", None),
                getattr(self, "aspect_ratio", None),
                getattr(self, "resolution", None),
            ),
            aspect_ratio=asked_aspect_ratio(getattr(self, "size", None), getattr(self, "aspect_ratio", None)),
            computed_from=params.computed_from,
            idempotency_key=idempotency_key,
            webhook_url=self.webhook_url,
        )


def parse_body(
    body_type: type[RequestBodyT],
    fields: Mapping[str, Any],
    *,
    form: bool = False,
    parameters: Container[str] = (),
) -> RequestBodyT:
    """Validate the fields of a request, by our names for those that other APIs call differently.

    `parameters` are those of the model, which keep their names. All values of a form are text, so numbers are
    parsed from it, and empty
    text counts as not given. Raises InvalidRequest (`invalid_FIELD`, `conflicting_fields`).
    """
    if form:
        fields = {
            name: value for name, value in fields.items() if value != "" or name in MEANINGFUL_EMPTY_FIELDS
        }
        _check_sent_once(body_type, fields, parameters)
    named = rename_synonyms(fields, body_type.model_fields, parameters, body_type.synonyms)
    with errors_name_fields(named.given_names):
        try:
            body = body_type.model_validate(named.values, strict=not form)
        except ValidationError as error:
            raise to_field_error(error) from error
    body._given_names = named.given_names
    return body


def _check_sent_once(
    body_type: type[RequestBody], fields: Mapping[str, Any], parameters: Container[str]
) -> None:
    """Raise InvalidRequest for a field of a form that is given several times, unless it is a list."""
    for name, value in fields.items():
        ours = our_name(name, body_type.model_fields, parameters)
        info = body_type.model_fields.get(body_type.synonyms.get(ours, ours))
        is_list = "list" in str(info.annotation) if info else ours in LIST_PARAMETERS
        if isinstance(value, list) and len(value) > 1 and not is_list:
            raise invalid_field(name, f"is given {len(value)} times in the form; send it once")


def names_sent_fields(
    translate: Callable[Concatenate[RequestBodyT, Catalog, P], ResultT],
) -> Callable[Concatenate[RequestBodyT, Catalog, P], ResultT]:
    """Decorate the translation of a body: its errors name the fields and the model as the caller did."""

    @wraps(translate)
    def run(body: RequestBodyT, catalog: Catalog, /, *args: P.args, **options: P.kwargs) -> ResultT:
        with errors_name_model(getattr(body, "model", None), catalog), errors_name_fields(body.given_names):
            return translate(body, catalog, *args, **options)

    return run


def to_field_error(error: ValidationError) -> InvalidRequest:
    """Return the first problem that pydantic found, as an error of the request field."""
    errors = error.errors(include_url=False, include_context=False)
    first = errors[0]
    name = str(first["loc"][0]) if first["loc"] else "body"
    return invalid_field(name, describe_problem(errors))

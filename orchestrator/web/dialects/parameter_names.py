"""Names of parameters across the field: synonyms, names without an effect, and unknown names.

Nothing that a caller sends is dropped without a word. A field is a parameter of the model, a synonym of one,
a name that official SDKs send and that has no effect (a warning), or an error that says what the model takes.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from orchestrator.catalog import Model
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.number_text import is_number_to_python

#: Our name by the names that other APIs and their clients use, in snake case; camel case is converted.
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "inference_steps": "steps",
        "num_inference_steps": "steps",
        "num_steps": "steps",
        "sampling_steps": "steps",
        "cfg": "cfg_scale",
        "guidance": "cfg_scale",
        "guidance_scale": "cfg_scale",
        "true_cfg_scale": "cfg_scale",
        "batch_size": "n",
        "num_images": "n",
        "num_images_per_prompt": "n",
        "num_outputs": "n",
        "number_of_images": "n",
        "sample_count": "n",
        "noise_seed": "seed",
        "random_seed": "seed",
        "denoise": "strength",
        "denoising_strength": "strength",
        "prompt_strength": "strength",
        "first_frame": "image",
        "first_frame_image": "image",
        "image_data_url": "image",
        "image_url": "image",
        "init_image": "image",
        "input_image": "image",
        "source_image": "image",
        "start_image": "image",
        "image_urls": "images",
        "init_images": "images",
        "input_images": "images",
        "reference_images": "images",
        "mask_image": "mask",
        "mask_url": "mask",
        "driving_video": "video",
        "input_video": "video",
        "reference_video": "video",
        "source_video": "video",
        "video_url": "video",
        "frames": "num_frames",
        "frame_count": "num_frames",
        "number_of_frames": "num_frames",
        "video_length": "num_frames",
        "frame_rate": "fps",
        "frames_per_second": "fps",
        "image_size": "size",
        "upscale_factor": "scale",
    }
)


@dataclass(frozen=True, slots=True)
class IgnoredField:
    """A field without an effect; its values are checked as those of other fields are."""

    #: The only values; () for any value of the types.
    values: tuple[str | bool, ...] = ()
    types: tuple[type, ...] = (str,)
    #: Values that ask for nothing, so that no warning is given.
    neutral: frozenset[str | bool] = frozenset()

    def check(self, name: str, value: object) -> None:
        """Raise InvalidRequest for a value that the field does not have in the API that it comes from."""
        if self.values:
            # A form writes `true` as text.
            texts = [str(each).lower() if isinstance(each, bool) else each for each in self.values]
            if not isinstance(value, str | bool) or (value not in self.values and value not in texts):
                raise invalid_field(name, f"must be one of {', '.join(texts)} (got {str(value)[:40]})")
        elif not self._has_type(value):
            expected = "a number" if float in self.types else "a string"
            raise invalid_field(name, f"must be {expected} (got {str(value)[:40]})")

    def _has_type(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, self.types):
            return False
        return float not in self.types or not isinstance(value, str) or is_number_to_python(value)


_FLAG = (True, False)
_NUMBER = (int, float, str)

#: Names that official SDKs and widespread clients send to every model. They have no effect here: a value that
#: asks for nothing is passed over, any other valid one gives a warning.
WITHOUT_EFFECT: Mapping[str, IgnoredField] = MappingProxyType(
    {
        "disable_safety_checker": IgnoredField(_FLAG, neutral=frozenset({False})),
        "enable_safety_checker": IgnoredField(_FLAG, neutral=frozenset({True})),
        "go_fast": IgnoredField(_FLAG, neutral=frozenset({False})),
        "input_fidelity": IgnoredField(("high", "low")),
        "moderation": IgnoredField(("low", "auto"), neutral=frozenset({"auto"})),
        "output_quality": IgnoredField(types=_NUMBER),
        "safety_identifier": IgnoredField(),
        "safety_tolerance": IgnoredField(types=_NUMBER),
        "prompt_cache_key": IgnoredField(),
        "style": IgnoredField(("vivid", "natural")),
        "user": IgnoredField(),
    }
)

_UPPER_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class NamedFields:
    """The fields of a request under our names."""

    values: Mapping[str, Any]
    #: The name that the caller used, for each field that was renamed.
    given_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelParameters:
    """The parameters of a model that a request sets, and what had no effect."""

    values: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    #: The field from which a parameter was computed, by parameter.
    computed_from: Mapping[str, str] = field(default_factory=dict)

    def extended(self, values: Mapping[str, Any], *warnings: str) -> ModelParameters:
        """Return these with further values and warnings."""
        return replace(self, values={**self.values, **values}, warnings=(*self.warnings, *warnings))

    def with_computed(self, values: Mapping[str, Any], field: str = "") -> ModelParameters:
        """Return these with values that follow from another field, such as the width of a `size`.

        Errors of the values name `field`. Raises InvalidRequest (`conflicting_fields`) if the request sets
        one of them to another value.
        """
        for name, value in values.items():
            if self.values.get(name, value) != value:
                earlier = self.computed_from.get(name)
                first = f"`{earlier}` makes `{name}`" if earlier else f"`{name}` is"
                second = f"`{field}`" if field else "another field"
                raise InvalidRequest(
                    f"{first} {str(self.values[name])[:20]}, and {second} asks for {str(value)[:20]};"
                    " send one of them",
                    code="conflicting_fields",
                    param=name,
                )
        sources = {name: field for name in values if field and name not in self.values}
        return replace(self.extended(values), computed_from={**self.computed_from, **sources})


def rename_synonyms(
    fields: Mapping[str, Any],
    own: Container[str],
    parameters: Container[str] = (),
    own_synonyms: Mapping[str, str] = MappingProxyType({}),
) -> NamedFields:
    """Return the fields with synonyms replaced by our names. Null counts as not given.

    A field of the dialect (`own`) and a parameter of the model keep their names; `own_synonyms` are fields of
    the dialect by the parameter that they set. Raises InvalidRequest (`conflicting_fields`) if two fields set
    the same parameter to different values.
    """
    values: dict[str, Any] = {}
    given_names: dict[str, str] = {}
    for given, value in fields.items():
        if value is None:
            continue
        name = our_name(given, own, parameters)
        name = own_synonyms.get(name, name)
        if name in values and values[name] != value:
            first = given_names.get(name, name)
            raise InvalidRequest(
                f"`{first}` and `{given}` set the same parameter to different values; send one of them",
                code="conflicting_fields",
                param=given,
            )
        values[name] = value
        if name != given:
            given_names[name] = given
    return NamedFields(values, given_names)


def our_name(given: str, own: Container[str], parameters: Container[str]) -> str:
    """Return our name of a field; one of the dialect (`own`) or of the model keeps its name."""
    if given in own or given in parameters:
        return given
    snake_case = _UPPER_CASE.sub("_", given).lower()
    return snake_case if snake_case in own or snake_case in parameters else SYNONYMS.get(snake_case, given)


def take_parameters(model: Model, given: Mapping[str, Any], further: Sequence[str] = ()) -> ModelParameters:
    """Return the parameters of the model among the fields, and warnings for fields without an effect.

    `further` are the fields of the dialect that set parameters, which errors list. Null, and an empty text or
    list where the model has no such parameter, count as not given. Raises InvalidRequest
    (`unknown_parameter`) for fields that the model does not have.
    """
    values: dict[str, Any] = {}
    warnings: list[str] = []
    for name, value in given.items():
        if value is None:
            continue
        if name in model.parameters or name == "n":
            values[name] = value
        elif _is_empty(value):
            continue
        elif name == "negative_prompt":
            warnings.append(f"`negative_prompt` has no effect: {model.id} cannot use one")
        elif name in WITHOUT_EFFECT:
            warnings += ignore_field(name, value)
        else:
            raise model.unknown_parameter(name, SYNONYMS, further)
    return ModelParameters(values, tuple(warnings))


def ignore_field(name: str, value: object) -> list[str]:
    """Return the warning that a field of WITHOUT_EFFECT has none; [] for a value that asks for nothing.

    Raises InvalidRequest for a value that the field cannot have.
    """
    field = WITHOUT_EFFECT[name]
    field.check(name, value)
    return [] if _is_neutral(value, field.neutral) else [f"`{name}` has no effect"]


def _is_empty(value: object) -> bool:
    return value in ("", [], {}) or (isinstance(value, str) and not value.strip())


def _is_neutral(value: object, neutral: frozenset[str | bool]) -> bool:
    if not isinstance(value, str | bool):
        return False
    return value in neutral or value in {str(each).lower() for each in neutral if isinstance(each, bool)}

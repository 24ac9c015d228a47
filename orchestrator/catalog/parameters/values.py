"""Types of model parameters, and the validation of their values.

A manifest declares every parameter as one of these types. `validate_value` takes a value from JSON and
returns the value for the graph, or raises InvalidRequest with the code `invalid_NAME`. Types are never
coerced: `"1024"` and `true` are not integers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.catalog.parameters.declaration import ParameterBase, StrictModel
from orchestrator.catalog.parameters.files import DatasetParameter, ImageListParameter, ImageParameter
from orchestrator.errors import InvalidRequest, invalid_field

__all__ = [
    "MAX_SEED",
    "BooleanParameter",
    "DatasetParameter",
    "ImageListParameter",
    "ImageParameter",
    "IntegerParameter",
    "LoraListParameter",
    "NumberParameter",
    "Parameter",
    "ParameterBase",
    "SeedParameter",
    "StrictModel",
    "TextParameter",
]

MAX_SEED = 2**64 - 1


class TextParameter(ParameterBase):
    """Unicode text. NUL and lone surrogates are rejected: databases and UTF-8 cannot store them."""

    type: Literal["string"]
    default: str | None = ""
    #: Whether a text of white space only counts as a value; else as missing.
    blank: bool = True
    #: Characters.
    max_length: int = Field(10_000, gt=0)
    #: If not empty, the only texts allowed.
    choices: tuple[str, ...] = ()

    def validate_value(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise invalid_field(name, "must be a string")
        if len(value) > self.max_length:
            raise invalid_field(name, f"must have at most {self.max_length} characters (got {len(value)})")
        if "\0" in value:
            raise invalid_field(name, "must not contain the NUL character")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise invalid_field(name, "must be valid Unicode; it contains a lone surrogate")
        if self.choices and value not in self.choices:
            raise invalid_field(name, f"must be one of {', '.join(self.choices)}")
        return value

    def to_json_schema(self) -> dict[str, Any]:
        if self.choices:
            return {"type": "string", "enum": list(self.choices)}
        return {"type": "string", "maxLength": self.max_length}


class IntegerParameter(ParameterBase):
    """A whole number in a closed range.

    Callers must send a multiple of `step`; other values are rejected. The model supports k * `grid` +
    `grid_offset`; other values are accepted, and rounded to the nearest one that the model supports.
    """

    type: Literal["integer"]
    default: int | None = None
    minimum: int
    maximum: int
    step: int = Field(1, gt=0)
    grid: int = Field(1, gt=0)
    grid_offset: int = 0

    @model_validator(mode="after")
    def _validate_range(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError("minimum is above maximum")
        if self.default is not None and not self.minimum <= self.default <= self.maximum:
            raise ValueError("default is out of range")
        if self.snap_to_grid(self.minimum) != self.minimum:
            raise ValueError(f"minimum is not on the grid of {self.grid}k + {self.grid_offset}")
        return self

    def validate_value(self, name: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid_field(name, "must be an integer")
        if not self.minimum <= value <= self.maximum:
            raise invalid_field(name, f"must be between {self.minimum} and {self.maximum}")
        if value % self.step:
            raise invalid_field(name, f"must be a multiple of {self.step} (got {value})")
        return value

    def snap_to_grid(self, value: int) -> int:
        """Return the nearest value that the model supports; the lower one if two are equally near."""
        below = value - (value - self.grid_offset) % self.grid
        above = below + self.grid
        return above if above <= self.maximum and above - value < value - below else below

    def to_json_schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}
        return schema | ({"multipleOf": self.step} if self.step > 1 else {})


class NumberParameter(ParameterBase):
    """A finite number in a closed range; integers are accepted, too. `step` is a hint for sliders."""

    type: Literal["number"]
    default: float | None = None
    minimum: float
    maximum: float
    step: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _validate_range(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError("minimum is above maximum")
        return self

    def validate_value(self, name: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise invalid_field(name, "must be a number")
        # Compared before the conversion to float, which fails for huge integers; NaN is rejected here, too.
        if not self.minimum <= value <= self.maximum or not math.isfinite(value):
            raise invalid_field(name, f"must be between {self.minimum:g} and {self.maximum:g}")
        return float(value)

    def to_json_schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.minimum, "maximum": self.maximum}


class BooleanParameter(ParameterBase):
    """True or false."""

    type: Literal["boolean"]
    default: bool = False

    def validate_value(self, name: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise invalid_field(name, "must be true or false")
        return value

    def to_json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class SeedParameter(ParameterBase):
    """The seed of the noise, 0 to 2**64 - 1. If missing, it is None until the service chooses one."""

    type: Literal["seed"]
    default: None = None

    def validate_value(self, name: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid_field(name, "must be an integer")
        if not 0 <= value <= MAX_SEED:
            raise invalid_field(name, "must be between 0 and 2^64 - 1")
        return value

    def to_json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": 0, "maximum": MAX_SEED}


class LoraListParameter(ParameterBase):
    """A list of LoRAs that the operator has put under `models/loras`, each `{"name", "strength"}`."""

    type: Literal["loras"]
    default: tuple[dict[str, str | float], ...] = ()
    max_items: int = Field(4, gt=0)
    min_strength: float = -2.0
    max_strength: float = 2.0

    @model_validator(mode="after")
    def _validate_default(self) -> Self:
        try:
            complete = self.validate_value("default", self.default) == list(self.default)
        except InvalidRequest as error:
            raise ValueError(str(error)) from error
        if not complete:
            raise ValueError("each item of the default needs a name and a strength")
        return self

    def validate_value(self, name: str, value: object) -> list[dict[str, Any]]:
        if not isinstance(value, list | tuple):
            raise invalid_field(name, "must be a list of LoRAs")
        if len(value) > self.max_items:
            raise invalid_field(name, f"must have at most {self.max_items} LoRAs (got {len(value)})")
        return [self._validate_item(name, item) for item in value]

    def _validate_item(self, name: str, item: object) -> dict[str, Any]:
        if not isinstance(item, Mapping) or not set(item) <= {"name", "strength"}:
            raise invalid_field(name, 'items must be objects with "name" and "strength"')
        file, strength = item.get("name"), item.get("strength", 1.0)
        if not isinstance(file, str) or not is_lora_name(file):
            raise invalid_field(name, "items need the name of a LoRA, without folder and extension")
        if not isinstance(strength, int | float) or isinstance(strength, bool):
            raise invalid_field(name, "strengths must be numbers")
        if not self.min_strength <= strength <= self.max_strength:
            raise invalid_field(
                name,
                f"strengths must be between {self.min_strength:g} and {self.max_strength:g}",
            )
        return {"name": file, "strength": float(strength)}

    def to_json_schema(self) -> dict[str, Any]:
        strength = {"type": "number", "minimum": self.min_strength, "maximum": self.max_strength}
        properties = {"name": {"type": "string", "pattern": _LORA_NAME_PATTERN.pattern}, "strength": strength}
        item = {"type": "object", "properties": properties, "required": ["name"]}
        return {"type": "array", "items": item, "maxItems": self.max_items}


# Without separators and leading dots no name can lead out of the folder.
_LORA_NAME_PATTERN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}")


def is_lora_name(text: str) -> bool:
    """Return whether a text is a valid name of a LoRA in a request, without folder and extension."""
    return _LORA_NAME_PATTERN.fullmatch(text) is not None


Parameter = Annotated[
    TextParameter
    | IntegerParameter
    | NumberParameter
    | BooleanParameter
    | SeedParameter
    | ImageParameter
    | ImageListParameter
    | DatasetParameter
    | LoraListParameter,
    Field(discriminator="type"),
]

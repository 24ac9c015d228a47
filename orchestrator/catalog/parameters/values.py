"""Types of model parameters, and the validation of their values.

A manifest declares every parameter as one of these types. `validate_value` takes a value from JSON and
returns the value for the graph, or raises InvalidRequest with the code `invalid_NAME`. Types are never
coerced: `"1024"` and `true` are not integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.catalog.parameters.declaration import ParameterBase, StrictModel
from orchestrator.catalog.parameters.files import (
    AudioParameter,
    DatasetParameter,
    FileParameter,
    ImageListParameter,
    ImageParameter,
    VideoParameter,
)
from orchestrator.catalog.parameters.loras import LoraListParameter
from orchestrator.errors import InvalidRequest, invalid_field

__all__ = [
    "MAX_SEED",
    "AudioParameter",
    "BooleanParameter",
    "DatasetParameter",
    "FileParameter",
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
    "VideoParameter",
    "check_seeds",
    "largest_first_seed",
]

MAX_SEED = 2**64 - 1
#: Longest part of a rejected value that an error repeats.
MAX_SHOWN_CHARACTERS = 24


def out_of_range(name: str, value: float, least: object, most: object) -> InvalidRequest:
    """Return the error for a number that is too small or too large."""
    return invalid_field(
        name, f"must be between {least} and {most} (got {str(value)[:MAX_SHOWN_CHARACTERS]})"
    )


def _got(value: object) -> str:
    """Return " (got VALUE)" for a value of the wrong type; nothing for lists and objects."""
    if isinstance(value, str):
        return f" (got {value[:MAX_SHOWN_CHARACTERS]!r})"
    return f" (got {str(value)[:MAX_SHOWN_CHARACTERS]})" if isinstance(value, bool | int | float) else ""


class TextParameter(ParameterBase):
    """Unicode text. NUL and lone surrogates are rejected: databases and UTF-8 cannot store them."""

    type: Literal["string"]
    default: str | None = ""
    #: Whether a text of white space only counts as a value; else as missing.
    blank: bool = True
    #: Characters.
    max_length: int = Field(32_000, gt=0)
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
            raise invalid_field(
                name, f"must be one of {', '.join(self.choices)} (got {value[:MAX_SHOWN_CHARACTERS]!r})"
            )
        return value

    def to_json_schema(self) -> dict[str, Any]:
        if self.choices:
            return {"type": "string", "enum": list(self.choices)}
        pattern = r"^[^\x00]*$" if self.blank or not self.required else r"^[^\x00]*[^\s\x00][^\x00]*$"
        return {"type": "string", "maxLength": self.max_length, "pattern": pattern}


class IntegerParameter(ParameterBase):
    """A whole number in a closed range.

    Callers must send a multiple of `step`; other values are rejected. The model makes k * `grid` +
    `grid_offset`. For other values the graph makes the next larger one, and the surplus pixels or frames are
    cut off (`orchestrator.catalog.rendering.output_cut`); `off_grid = "reject"` rejects them instead.
    """

    type: Literal["integer"]
    default: int | None = None
    minimum: int
    maximum: int
    step: int = Field(1, gt=0)
    grid: int = Field(1, gt=0)
    grid_offset: int = 0
    off_grid: Literal["cut", "reject"] = "cut"

    @model_validator(mode="after")
    def _validate_range(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum ({self.minimum}) is above maximum ({self.maximum})")
        if self.default is not None and not self.minimum <= self.default <= self.maximum:
            shown = str(self.default)[:MAX_SHOWN_CHARACTERS]
            raise ValueError(f"default must be from {self.minimum} to {self.maximum} (got {shown})")
        if self.round_up_to_grid(self.minimum) != self.minimum:
            raise ValueError(
                f"minimum ({self.minimum}) is not on the grid of {self.grid}k + {self.grid_offset}"
            )
        return self

    def validate_value(self, name: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid_field(name, f"must be an integer{_got(value)}")
        largest = self.largest_allowed
        if not self.minimum <= value <= largest:
            raise out_of_range(name, value, self.minimum, largest)
        if not self.allows(value):
            rule = f"a multiple of {self.step}" if value % self.step else self._grid_rule
            nearest = " and ".join(map(str, self.nearest_allowed(value)))
            raise invalid_field(name, f"must be {rule} (got {value}); the nearest values are {nearest}")
        return value

    @property
    def _grid_rule(self) -> str:
        offset = f" plus {self.grid_offset}" if self.grid_offset else ""
        return f"a multiple of {self.grid}{offset}"

    def allows(self, value: int) -> bool:
        """Return whether requests may have this value."""
        if not self.minimum <= value <= self.maximum or value % self.step:
            return False
        made = self.round_up_to_grid(value)
        return made <= self.maximum if self.off_grid == "cut" else made == value

    @property
    def allows_odd(self) -> bool:
        """Whether requests may have an odd value."""
        reach = range(self.minimum, min(self.maximum, self.minimum + 2 * math.lcm(self.step, self.grid)) + 1)
        return any(value % 2 and self.allows(value) for value in reach)

    @property
    def largest_allowed(self) -> int:
        """The largest value that requests may have."""
        made = self.maximum - (self.maximum - self.grid_offset) % self.grid
        return next((one for one in range(made, self.minimum, -1) if self.allows(one)), self.minimum)

    def nearest_allowed(self, value: int) -> list[int]:
        """Return the two allowed values that are nearest to `value`, in order; fewer if there are not two."""
        reach = 2 * math.lcm(self.step, self.grid)
        middle = min(max(value, self.minimum), self.maximum)
        near = (one for one in range(middle - reach, middle + reach + 1) if self.allows(one))
        return sorted(sorted(near, key=lambda one: abs(one - value))[:2])

    def round_up_to_grid(self, value: int) -> int:
        """Return the smallest value that the model makes and that is not below `value`."""
        return value + (self.grid_offset - value) % self.grid

    def to_json_schema(self) -> dict[str, Any]:
        largest = self.largest_allowed
        schema: dict[str, Any] = {"type": "integer", "minimum": self.minimum, "maximum": largest}
        rejects_off_grid = self.off_grid == "reject" and self.grid_offset == 0
        step = math.lcm(self.step, self.grid) if rejects_off_grid else self.step
        return schema | ({"multipleOf": step} if step > 1 else {})


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
            raise ValueError(f"minimum ({self.minimum}) is above maximum ({self.maximum})")
        if self.default is not None and not self.minimum <= self.default <= self.maximum:
            raise ValueError(f"default must be from {self.minimum} to {self.maximum} (got {self.default})")
        return self

    def validate_value(self, name: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise invalid_field(name, f"must be a number{_got(value)}")
        # Compared before the conversion to float, which fails for huge integers; NaN is rejected here, too.
        if not self.minimum <= value <= self.maximum or not math.isfinite(value):
            raise out_of_range(name, value, f"{self.minimum:g}", f"{self.maximum:g}")
        return float(value)

    def to_json_schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.minimum, "maximum": self.maximum}


class BooleanParameter(ParameterBase):
    """True or false."""

    type: Literal["boolean"]
    default: bool = False

    def validate_value(self, name: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise invalid_field(name, f"must be true or false{_got(value)}")
        return value

    def to_json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class SeedParameter(ParameterBase):
    """The seed of the noise, 0 to `max`. If missing, it is None until the service chooses one."""

    type: Literal["seed"]
    default: None = None
    #: The largest seed that the model's sampler takes.
    max: int = Field(MAX_SEED, ge=0, le=MAX_SEED)

    def validate_value(self, name: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid_field(name, f"must be an integer{_got(value)}")
        if not 0 <= value <= self.max:
            raise out_of_range(name, value, 0, self.max_text)
        return value

    @property
    def max_text(self) -> str:
        """`2^64 - 1` or `2^32 - 1`; another number in digits."""
        bits = self.max.bit_length()
        return f"2^{bits} - 1" if self.max == 2**bits - 1 else str(self.max)

    def to_json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": 0, "maximum": self.max}


Parameter = Annotated[
    TextParameter
    | IntegerParameter
    | NumberParameter
    | BooleanParameter
    | SeedParameter
    | ImageParameter
    | ImageListParameter
    | VideoParameter
    | AudioParameter
    | DatasetParameter
    | LoraListParameter,
    Field(discriminator="type"),
]


def largest_first_seed(parameters: Mapping[str, ParameterBase], n: int) -> int:
    """Return the largest `seed` with which none of the `n` seeds `seed`, `seed + 1`, ... is too large."""
    spec = parameters["seed"]
    return (spec.max if isinstance(spec, SeedParameter) else MAX_SEED) - n + 1


def check_seeds(parameters: Mapping[str, ParameterBase], params: Mapping[str, Any]) -> None:
    """Raise InvalidRequest if the last of the `n` seeds `seed`, `seed + 1`, ... is above the largest one."""
    seed, n = params.get("seed"), params["n"]
    if seed is None or not isinstance(parameters["seed"], SeedParameter):
        return
    most = largest_first_seed(parameters, n)
    if seed <= most:
        return
    raise invalid_field(
        "seed",
        f"must be at most {most} for `n` {n} (got {seed}): the results have the seeds `seed`, `seed` + 1,"
        f" ..., and the largest is {most + n - 1}; send a smaller `seed` or `n`",
    )


def validate_param(
    name: str, spec: Parameter, request: Mapping[str, object], *, may_be_blank: bool = False
) -> Any:
    """Return the value of a parameter in a request, or its default.

    `may_be_blank`: an empty text counts as given. Raises InvalidRequest.
    """
    value = request.get(name)
    if value is not None and (may_be_blank or not _is_blank_text(spec, value)):
        return spec.validate_value(name, value)
    # Another parameter may take the place of a required one.
    if spec.required and not (spec.replaced_by and request.get(spec.replaced_by)):
        label = "Prompt" if name == "prompt" else f"`{name}`"
        other = f", unless `{spec.replaced_by}` is given" if spec.replaced_by else ""
        raise InvalidRequest(f"{label} is required{other}", code=f"missing_{name}", param=name)
    return list(spec.default) if isinstance(spec.default, tuple) else spec.default


def _is_blank_text(spec: Parameter, value: object) -> bool:
    """Return whether a text counts as missing."""
    return spec.type == "string" and not spec.blank and isinstance(value, str) and not value.strip()

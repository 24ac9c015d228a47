"""What all parameters of a model have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.errors import InvalidRequest


class StrictModel(BaseModel):
    """A value read from a manifest: immutable, no unknown keys, no coercion, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def invalid_param(name: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"`{name}` {reason}", code=f"invalid_{name}", param=name)


class ParameterBase(StrictModel, ABC):
    """What all parameters have in common."""

    #: One sentence for people who choose a value.
    description: str = ""
    #: A request without it is refused with the code `missing_NAME`.
    required: bool = False

    @abstractmethod
    def validate_value(self, name: str, value: object) -> Any:
        """The value as the graph shall have it. Raises InvalidRequest."""

    @abstractmethod
    def to_json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a valid value, without its description and default."""

"""Base classes of model parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """A value read from a manifest: immutable, no unknown keys, no coercion, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ParameterBase(StrictModel, ABC):
    """Base class of all parameters."""

    #: One sentence for users.
    description: str = ""
    #: A request without it is rejected with the code `missing_NAME`.
    required: bool = False
    #: Parameter without which this one has no effect, as `image` for the `strength` of changes to it.
    needs: str = ""
    #: Parameter that takes the place of this one, as `image` for the `prompt` of which an image is made. If a
    #: request has it, this one is not required.
    replaced_by: str = ""

    @abstractmethod
    def validate_value(self, name: str, value: object) -> Any:
        """Return the value for the graph. Raises InvalidRequest."""

    @abstractmethod
    def to_json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a valid value, without description and default."""

"""The parameter that lists LoRAs.

An item names its LoRA in one of the forms that clients send: `name`, `job_id`, `url`, or `path` or `id` (any
of these), and `strength` or `scale`. Which LoRA the text stands for, and whether it fits the model, is
decided by `orchestrator.intake.lora_resolver`; here all forms become `{"name", "strength"}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.catalog.parameters.declaration import ParameterBase
from orchestrator.errors import InvalidRequest, invalid_field

#: Keys of an item that name the LoRA, and that set its strength.
REFERENCE_KEYS = ("name", "job_id", "url", "path", "id")
STRENGTH_KEYS = ("strength", "scale")
#: Parameters of trainers that the service reads, to name the LoRA, besides nodes or instead of them.
SERVICE_PARAMETERS = frozenset({"lora_name", "trigger_word"})
#: Suffix of the files, which callers may leave on a name.
LORA_SUFFIX = ".safetensors"
#: Longest URL of a LoRA.
MAX_URL_LENGTH = 4096

# Without separators and leading dots no name can lead out of the folder.
_LORA_NAME_PATTERN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}")
_JOB_ID_PATTERN = "^job_[0-9a-f]{32}$"
#: A name, the id of a job, or a URL.
LORA_REFERENCE_PATTERN = rf"^(https?://\S{{1,{MAX_URL_LENGTH - 8}}}|{_LORA_NAME_PATTERN.pattern})$"


class LoraListParameter(ParameterBase):
    """A list of LoRAs: of the caller's account, or files that the operator has put under `models/loras`."""

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
            raise invalid_field(name, 'must be a list of LoRAs, such as [{"name": "NAME", "strength": 0.8}]')
        if len(value) > self.max_items:
            raise invalid_field(name, f"must have at most {self.max_items} LoRAs (got {len(value)})")
        return [self._validate_item(name, item) for item in value]

    def _validate_item(self, name: str, item: object) -> dict[str, Any]:
        given = {"name": item} if isinstance(item, str) else item
        if not isinstance(given, Mapping):
            raise invalid_field(name, 'items must be objects such as {"name": "NAME", "strength": 0.8}')
        unknown = sorted(str(key)[:40] for key in given.keys() - {*REFERENCE_KEYS, *STRENGTH_KEYS})
        if unknown:
            raise invalid_field(
                name,
                f"items have no field {unknown[0]!r}; they name a LoRA in `name`, `id`, `job_id`, `url` or"
                " `path`, and set `strength` (or `scale`)",
            )
        reference = _only_value(name, given, REFERENCE_KEYS)
        strength = _only_value(name, given, STRENGTH_KEYS)
        return {
            "name": _validate_reference(name, reference),
            "strength": self._validate_strength(name, 1.0 if strength is None else strength),
        }

    def _validate_strength(self, name: str, strength: object) -> float:
        if not isinstance(strength, int | float) or isinstance(strength, bool):
            raise invalid_field(name, "strengths must be numbers")
        if not self.min_strength <= strength <= self.max_strength:
            raise invalid_field(
                name,
                f"strengths must be between {self.min_strength:g} and {self.max_strength:g}"
                f" (got {str(strength)[:20]})",
            )
        return float(strength)

    def to_json_schema(self) -> dict[str, Any]:
        strength = {"type": "number", "minimum": self.min_strength, "maximum": self.max_strength}
        properties = {
            "name": {"type": "string", "pattern": f"^{_LORA_NAME_PATTERN.pattern}$"},
            "job_id": {"type": "string", "pattern": _JOB_ID_PATTERN},
            "url": {"type": "string", "pattern": r"^https?://\S+$", "maxLength": MAX_URL_LENGTH},
            "path": {"type": "string", "pattern": LORA_REFERENCE_PATTERN},
            "id": {"type": "string", "pattern": LORA_REFERENCE_PATTERN},
            "strength": strength,
            "scale": strength,
        }
        item = {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            "oneOf": [{"required": [key]} for key in REFERENCE_KEYS],
            "not": {"required": list(STRENGTH_KEYS)},
        }
        return {"type": "array", "items": item, "maxItems": self.max_items}


def _only_value(name: str, item: Mapping[Any, Any], keys: tuple[str, ...]) -> object:
    """Return the value of the only one of `keys` in the item; None without one. Raises InvalidRequest."""
    given = [key for key in keys if item.get(key) is not None]
    if len(given) > 1:
        raise invalid_field(name, f"items must not have both `{given[0]}` and `{given[1]}`")
    return item[given[0]] if given else None


def _validate_reference(name: str, reference: object) -> str:
    """Return the name, job id or URL of a LoRA. Raises InvalidRequest."""
    if not isinstance(reference, str) or not reference:
        raise invalid_field(name, "items need a LoRA: its `name`, `id`, `job_id`, `url` or `path`")
    if reference.lower().startswith(("http://", "https://")):
        if len(reference) > MAX_URL_LENGTH:
            raise invalid_field(name, f"URLs must have at most {MAX_URL_LENGTH} characters")
        return reference
    plain = reference.removesuffix(LORA_SUFFIX)
    if not is_lora_name(plain):
        raise invalid_field(
            name,
            "items need the name, the job id or the output URL of a LoRA; a name has letters, digits, `.`,"
            f" `_` and `-` only, and no folder (got {reference[:60]!r})",
        )
    return plain


def is_lora_name(text: str) -> bool:
    """Return whether a text is a valid name of a LoRA in a request, without folder and extension."""
    return _LORA_NAME_PATTERN.fullmatch(text) is not None

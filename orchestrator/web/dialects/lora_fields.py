"""LoRAs by name beside their strengths, which every dialect takes in place of a list of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.values import LoraListParameter
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.web.dialects.request_body import RequestBody

LORA_FIELDS = frozenset({"lora_weights", "lora_scale"})


class LoraFields(RequestBody):
    """Fields of a body that runs a model with LoRAs."""

    lora_weights: str | list[str] | None = Field(None, description="Name of a LoRA, or names of several.")
    lora_scale: int | float | list[int | float] | None = Field(
        None, description="Strength of all LoRAs, or of each; default: 1."
    )

    @property
    def given_names(self) -> Mapping[str, str]:
        given = super().given_names
        if not self.lora_weights:
            return given
        return {**given, "loras": given.get("lora_weights", "lora_weights")}


def lora_params(body: LoraFields, model: Model) -> dict[str, Any]:
    """Return the LoRAs of a body as a parameter of the model. Raises InvalidRequest."""
    scale = 1.0 if body.lora_scale is None else body.lora_scale
    weights = body.lora_weights or []
    names = weights if isinstance(weights, list) else [weights]
    spec, has_scale = model.parameters.get("loras"), scale not in (1, [], [1])
    if not names and not has_scale:
        return {}
    if not isinstance(spec, LoraListParameter):
        field = "lora_weights" if names else "lora_scale"
        raise InvalidRequest(
            f"Model {model.id} does not support LoRAs; omit `{field}`", code="unsupported_lora", param=field
        )
    if not names:
        raise invalid_field("lora_scale", "has an effect only with `lora_weights`; send these too")
    scales = scale if isinstance(scale, list) else [scale] * len(names)
    if len(scales) != len(names):
        raise invalid_field(
            "lora_scale",
            f"must be one number or one for each LoRA (got {len(scales)} for {len(names)} LoRAs)",
        )
    for each in scales:
        if not spec.min_strength <= each <= spec.max_strength:
            raise invalid_field(
                "lora_scale",
                f"must be between {spec.min_strength:g} and {spec.max_strength:g} (got {str(each)[:20]})",
            )
    return {"loras": [{"name": name, "strength": each} for name, each in zip(names, scales, strict=True)]}

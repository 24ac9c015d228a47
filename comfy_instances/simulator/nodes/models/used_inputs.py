"""Which inputs of a node its result depends on: a placeholder depends on the same ones as the real result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_instances.simulator.nodes.values import OpaqueValue

#: Parts of the names of samplers that draw noise at every step, and not only at the first one.
_STOCHASTIC_SAMPLERS = ("ancestral", "sde", "ddpm", "lcm", "seeds_", "sa_solver", "gradient_estimation")
#: A setting of models whose negative conditioning counts at any guidance scale.
_NEGATIVE_AT_ANY_SCALE = "nag_scale"


def without_unused_negative(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the inputs of a sampler or guider without `negative` if its `cfg` is 1, which leaves it out."""
    if inputs.get("cfg") != 1 or "negative" not in inputs:
        return inputs
    model = inputs.get("model")
    if isinstance(model, OpaqueValue) and _NEGATIVE_AT_ANY_SCALE in model.settings:
        return inputs
    return _without(inputs, "negative")


def without_unused_seed(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the inputs of a sampler without its seed if it adds no noise, neither at first nor later."""
    if inputs.get("add_noise") not in ("disable", False) or _is_stochastic(inputs):
        return inputs
    return _without(inputs, "noise_seed")


def inputs_of_output(inputs: Mapping[str, Any], slot: int) -> Mapping[str, Any]:
    """Return the inputs that the output in this slot depends on.

    A node that passes conditionings through has them in its first two slots, each changed by the other
    inputs.
    """
    if not {"positive", "negative"} <= inputs.keys():
        return inputs
    if "cfg" in inputs:
        return without_unused_negative(inputs)
    return _without(inputs, *({"positive", "negative"} - {("positive", "negative", "")[min(slot, 2)]}))


def _is_stochastic(inputs: Mapping[str, Any]) -> bool:
    sampler = inputs.get("sampler")
    settings = sampler.settings if isinstance(sampler, OpaqueValue) else inputs
    name = str(settings.get("sampler_name", ""))
    return any(part in name for part in _STOCHASTIC_SAMPLERS)


def _without(inputs: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name not in names}

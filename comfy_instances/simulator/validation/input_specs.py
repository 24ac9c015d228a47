"""The inputs of a node in one prompt, with dynamic groups and combos expanded to plain names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

AUTOGROW = "COMFY_AUTOGROW_V3"
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The specification of one input of a node."""

    name: str
    #: A type name, or the list of options of an old-style combo.
    type: Any
    options: Mapping[str, Any]
    required: bool

    @property
    def config(self) -> list[Any]:
        """Return the specification in the format of error bodies."""
        return [self.type, dict(self.options)]

    @property
    def choices(self) -> list[Any] | None:
        """Return the option list of an old-style or new-style combo; None for other types."""
        if isinstance(self.type, list):
            return self.type
        return list(self.options.get("options", [])) if self.type == "COMBO" else None


@dataclass(slots=True)
class _InputExpander:
    """Collects the specs of a node; the first spec of a name counts."""

    values: Mapping[str, Any]
    specs: dict[str, InputSpec] = field(default_factory=dict)

    def add_spec(self, name: str, value: list[Any], required: bool) -> None:
        options = value[1] if len(value) > 1 else {}
        self.specs.setdefault(name, InputSpec(name, value[0], options, required))

    def add_section(self, inputs: Mapping[str, list[Any]], required: bool, prefix: str) -> None:
        for key, value in inputs.items():
            name = prefix + key
            if value[0] == AUTOGROW:
                self._add_autogrow(name, value)
            elif value[0] == DYNAMIC_COMBO:
                self._add_dynamic_combo(name, value, required)
            else:
                self.add_spec(name, value, required)

    def _add_autogrow(self, name: str, value: list[Any]) -> None:
        template = value[1]["template"]
        section, member = next((s, next(iter(d.values()))) for s, d in template["input"].items() if d)
        members = template.get("names") or [f"{template['prefix']}{i}" for i in range(template["max"])]
        for index, key in enumerate(members):
            self.add_spec(f"{name}.{key}", member, index < template["min"] and section == "required")

    def _add_dynamic_combo(self, name: str, value: list[Any], required: bool) -> None:
        """Add a dynamic combo and the inputs of its option; add nothing for an unknown option."""
        chosen = self.values.get(name)
        for option in value[1]["options"]:
            if option["key"] == chosen:
                for section, inputs in option["inputs"].items():
                    self.add_section(inputs, section == "required", name + ".")
                self.add_spec(name, value, required)


def expand_input_specs(facts: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, InputSpec]:
    """Return the specs, by name, of all inputs that a node has with these values, except hidden inputs."""
    unfolding = _InputExpander(values)
    for section in ("required", "optional"):
        unfolding.add_section(facts["input"].get(section, {}), section == "required", "")
    return unfolding.specs


def nest_inputs(facts: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values by dotted name to the keyword arguments of a node's function.

    A group becomes a dict of its members. A dynamic combo becomes a dict of its choice, under its own
    name, and the inputs of that choice.
    """
    specs = expand_input_specs(facts, values)
    nested: dict[str, Any] = {name: {} for name in _autogrow_names(facts)}
    for name, value in values.items():
        *path, last = name.split(".") if name in specs else [name]
        place = nested
        for step in path:
            place = place.setdefault(step, {})
        if name in specs and specs[name].type == DYNAMIC_COMBO:
            place.setdefault(last, {})[last] = value
        else:
            place[last] = value
    return nested


def _autogrow_names(facts: Mapping[str, Any]) -> list[str]:
    """Return the inputs that take any number of members; without members they are an empty dict."""
    sections = (facts["input"].get(section, {}) for section in ("required", "optional"))
    return [name for inputs in sections for name, value in inputs.items() if value[0] == AUTOGROW]

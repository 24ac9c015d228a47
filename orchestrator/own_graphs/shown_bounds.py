"""Facts of node classes with the bounds of the policy, so that the widgets of clients allow no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.own_graphs.limits import GraphLimits
from orchestrator.own_graphs.values import find_bound

_NUMBERS = frozenset({"INT", "FLOAT"})


def with_bounds(class_type: str, sections: Mapping[str, Any], limits: GraphLimits) -> dict[str, Any]:
    """Return the inputs of a class by section, with the largest numbers that a graph may have.

    Inputs that belong to an option, or to a group that grows, are bounded as all others.
    """

    def bounded(name: str, spec: Any) -> Any:
        if not isinstance(spec, list | tuple) or not spec:
            return spec
        options = dict(spec[1]) if len(spec) > 1 and isinstance(spec[1], Mapping) else {}
        if isinstance(options.get("options"), list):
            options["options"] = [of_option(option) for option in options["options"]]
        template = options.get("template")
        if isinstance(template, Mapping) and isinstance(template.get("input"), Mapping):
            options["template"] = {**template, "input": of_sections(template["input"])}
        bound = find_bound(class_type, name, limits) if is_number(spec[0]) else None
        if bound is not None:
            options["max"] = min(options.get("max", bound.most), bound.most)
            if options.get("default", 0) > bound.most:
                options["default"] = bound.most
        return [spec[0], options] if options or len(spec) > 1 else [spec[0]]

    def of_option(option: Any) -> Any:
        if not isinstance(option, Mapping) or not isinstance(option.get("inputs"), Mapping):
            return option
        return {**option, "inputs": of_sections(option["inputs"])}

    def of_sections(found: Mapping[str, Any]) -> dict[str, Any]:
        return {
            section: {name: bounded(name, spec) for name, spec in inputs.items()}
            if isinstance(inputs, Mapping)
            else inputs
            for section, inputs in found.items()
        }

    return of_sections(sections)


def is_number(type: Any) -> bool:
    """Return whether an input takes numbers."""
    return isinstance(type, str) and bool(_NUMBERS & set(type.split(",")))

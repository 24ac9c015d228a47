"""Checks the facts of node classes that authors send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.catalog.checks.node_facts import output_types, resolve_inputs
from orchestrator.errors import InvalidRequest


def check_given_facts(object_info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the author's facts. Raises InvalidRequest for an entry that is none."""
    for name, entry in object_info.items():
        if not _is_entry(entry):
            raise InvalidRequest(
                f"`object_info` must have entries as in /object_info: {name[:100]!r} needs `input`, an"
                ' object with sections of inputs such as {"required": {"image": ["IMAGE"]}}, and `output`, a'
                " list of types",
                code="invalid_object_info",
                param="object_info",
            )
    return dict(object_info)


def _is_entry(entry: Any) -> bool:
    """Return whether inputs and outputs of a class can be read."""
    inputs = entry.get("input") if isinstance(entry, Mapping) else None
    if not isinstance(inputs, Mapping) or not all(isinstance(group, Mapping) for group in inputs.values()):
        return False
    specs = [spec for group in inputs.values() for spec in group.values()]
    outputs = entry.get("output")
    if not all(_is_spec(spec) for spec in specs) or not isinstance(outputs, list | None):
        return False
    try:
        resolve_inputs(entry, {})
        output_types(entry)
    except (LookupError, TypeError, ValueError, AttributeError):
        return False
    return True


def _is_spec(spec: Any) -> bool:
    """Return whether an input has a type, or a list of options, and an object of settings if any."""
    parts = list(spec) if isinstance(spec, list) else [spec]
    return bool(parts) and isinstance(parts[0], str | list)

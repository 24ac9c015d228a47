"""Convert values as a server does before it checks them: the text `20` of a number is 20, and so on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, resolve_inputs
from orchestrator.catalog.import_export.infer.parameter_nodes import PARAMETER_NODE_CLASSES
from orchestrator.catalog.rendering.expressions import is_template
from orchestrator.catalog.rendering.graph import ApiGraph, unwrap_value

_MAX_SHOWN = 40


def convert_values(graph: ApiGraph, facts: NodeFacts) -> Iterator[str]:
    """Convert values of another type than their inputs, such as texts in place of numbers; yield the changes.

    What a server cannot convert stays as it is: validation reports it.
    """
    for id, node in graph.items():
        entry = facts.get(node["class_type"])
        declared = resolve_inputs(entry, node["inputs"]) if entry else {}
        for name, item in declared.items():
            given, convert = node["inputs"].get(name), _CONVERSIONS.get(item.type)
            if convert is None or name not in node["inputs"] or isinstance(given, list):
                continue
            value = unwrap_value(given)
            if isinstance(value, str) and is_template(value):
                continue
            if isinstance(value, bool) and node["class_type"] in PARAMETER_NODE_CLASSES:
                continue  # our own nodes declare numbers, and refuse switches
            try:
                converted = convert(value)
            except (TypeError, ValueError, OverflowError):
                continue
            node["inputs"][name] = converted
            if converted != value or isinstance(converted, bool) != isinstance(value, bool):
                yield (
                    f"node {id}, input {name}: {_show(value)} is read as {_show(converted)}, as ComfyUI does:"
                    f" the class takes {item.type}"
                )


def _to_number(value: Any) -> float:
    """Return the number of a text or a switch; others stay, so that 7 is not written as 7.0."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


#: Any text is on, also `false`, except an empty one; an absent text is the text `None`.
_CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    "INT": int,
    "FLOAT": _to_number,
    "BOOLEAN": bool,
    "STRING": str,
}


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."

"""Convert values as a server does before it checks them: the text `20` of a number is 20, and so on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, resolve_inputs
from orchestrator.catalog.rendering.expressions import is_template
from orchestrator.catalog.rendering.graph import ApiGraph, unwrap_value

_MAX_SHOWN = 40


def convert_values(graph: ApiGraph, facts: NodeFacts) -> Iterator[str]:
    """Convert texts in place of numbers and switches, and numbers in place of texts; yield what was changed.

    What a server cannot convert stays as it is: validation reports it.
    """
    for id, node in graph.items():
        entry = facts.get(node["class_type"])
        declared = resolve_inputs(entry, node["inputs"]) if entry else {}
        for name, item in declared.items():
            value, convert = unwrap_value(node["inputs"].get(name)), _CONVERSIONS.get(item.type)
            if convert is None or (isinstance(value, str) and is_template(value)):
                continue
            converted = convert(value)
            if converted is None:
                continue
            node["inputs"][name] = converted
            if converted != value or isinstance(converted, bool) != isinstance(value, bool):
                yield (
                    f"node {id}, input {name}: {_show(value)} is read as {_show(converted)}, as ComfyUI does:"
                    f" the class takes {item.type}"
                )


def _to_integer(value: Any) -> int | None:
    """Return the integer that a server makes of a text or a number with decimals.

    A switch stays: in place of a number it is a mistake, although a server takes it for 0 or 1.
    """
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def _to_number(value: Any) -> float | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _to_switch(value: Any) -> bool | None:
    """Return the switch; any text is on, also `false`, except an empty one."""
    return bool(value) if isinstance(value, str | int | float) else None


def _to_text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | bool | int | float) else None


_CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    "INT": _to_integer,
    "FLOAT": _to_number,
    "BOOLEAN": _to_switch,
    "STRING": _to_text,
}


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."

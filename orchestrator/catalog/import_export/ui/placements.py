"""Assign widget values to inputs where their number differs from that of the class.

A class that has got optional inputs since the file was saved, which it runs without, has other positions. If
only one assignment of the values, in their order, fits the types, options and ranges of the inputs, the file
itself proves it. A class that has lost all of its widgets has no position that could be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeInput

#: Values and inputs of a node; larger ones are not tried.
_MAX_WIDGETS = 80
#: Different assignments that are looked for: with two, none is proven.
_ENOUGH = 2
#: The inputs of the rest of a class with their values as JSON, by name.
_Rest = tuple[tuple[str, str], ...]


class Slot:
    """The place of a widget in the class's order, or of the control behind a seed."""

    def __init__(self, item: NodeInput | None) -> None:
        #: None for a control.
        self.item = item

    def takes(self, value: Any) -> bool:
        """Return whether the value can only be meant for something like this widget."""
        item = self.item
        if item is None:
            return value is None or isinstance(value, bool) or value in CONTROLS
        kind = str(item.options.get("widgetType") or item.type)
        match kind:
            case "INT":
                return _is_number(value) and float(value).is_integer() and _is_in_range(item, value)
            case "FLOAT":
                return _is_number(value) and _is_in_range(item, value)
            case "BOOLEAN":
                return isinstance(value, bool)
            case "STRING":
                return isinstance(value, str)
            case "COMBO":
                if item.choices:
                    return value in item.choices
                return isinstance(value, str) and value not in CONTROLS
        return False


#: What may happen to a seed after a run.
CONTROLS = ("fixed", "increment", "decrement", "randomize", "increment-wrap")


def find_only_placement(
    slots: Sequence[Slot], values: Sequence[Any], ignored: Collection[Any] = ()
) -> dict[str, Any] | None:
    """Return the values by input if only one assignment is possible; None otherwise.

    Values that are equal to one of `ignored` may belong to no input. Inputs without a value are left out.
    Assignments with the same result count once.
    """
    if max(len(slots), len(values)) > _MAX_WIDGETS:
        return None
    may_skip_values = not slots

    @cache
    def rests(slot: int, value: int) -> tuple[_Rest, ...]:
        """Return up to two results of the slots and values from these on."""
        if slot == len(slots) and (value == len(values) or may_skip_values):
            return ((),)
        found: dict[_Rest, None] = {}
        if value < len(values) and (may_skip_values or values[value] in ignored):
            found |= dict.fromkeys(rests(slot, value + 1))
        if slot == len(slots):
            return tuple(found)[:_ENOUGH]
        here = slots[slot]
        if value < len(values) and here.takes(values[value]):
            head = () if here.item is None else ((here.item.name, json.dumps(values[value])),)
            found |= dict.fromkeys(head + rest for rest in rests(slot + 1, value + 1))
        if here.item is None or (not may_skip_values and not here.item.required):
            found |= dict.fromkeys(rests(slot + 1, value))
        return tuple(found)[:_ENOUGH]

    results = rests(0, 0)
    if len(results) != 1:
        return None
    return {name: json.loads(text) for name, text in results[0]}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_in_range(item: NodeInput, value: float) -> bool:
    low: Any = item.options.get("min")
    high: Any = item.options.get("max")
    return (not _is_number(low) or value >= low) and (not _is_number(high) or value <= high)

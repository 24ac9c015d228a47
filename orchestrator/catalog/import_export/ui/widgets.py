"""Assign the widget values of a UI node to its inputs.

`widgets_values` is positional: one slot for each widget in the order of the class's inputs, with extra slots
for controls that exist only in the UI (what happens to a seed after a run, upload buttons).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.catalog.checks.node_facts import (
    SEED_INPUT_NAMES,
    NodeInput,
    declared_inputs,
    dynamic_combo_inputs,
)
from orchestrator.catalog.import_export.ui.ui_graph import UiNode

_CONTROL_AFTER_GENERATE = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
# Buttons of the 3D loaders have slots, too.
_BUTTON_SLOTS = frozenset({"upload3dmodel", "upload 3d model", "uploadExtraResources", "clear"})


def read_widget_values(node: UiNode, entry: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the values by input name; without facts (`entry`), those that the file itself names."""
    if isinstance(node.widget_values, dict):
        return {name: value for name, value in node.widget_values.items() if name != "videopreview"}
    if entry is None:
        return _values_by_socket(node)
    slots = _WidgetSlots(node.widget_values if isinstance(node.widget_values, list) else [])
    values = dict(_assign_values(declared_inputs(entry), slots))
    # Recent frontends store values by name that are missing in the list.
    missing = {name for name, value in values.items() if value is _MISSING}
    values |= {name: node.named_widget_values[name] for name in missing & node.named_widget_values.keys()}
    return {name: value for name, value in values.items() if value is not _MISSING}


_MISSING = object()


class _WidgetSlots:
    """The positional values, consumed from the front."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values
        self._next = 0

    def take(self) -> Any:
        self._next += 1
        return self._values[self._next - 1] if self._next <= len(self._values) else _MISSING

    def skip_if(self, texts: frozenset[str]) -> bool:
        """Skip the next value if it is one of `texts`; files of old frontends do not have it."""
        following = self._values[self._next] if self._next < len(self._values) else None
        found = isinstance(following, str) and following in texts
        self._next += found
        return found


def _assign_values(
    inputs: Iterator[NodeInput] | list[NodeInput], slots: _WidgetSlots
) -> Iterator[tuple[str, Any]]:
    for item in inputs:
        if not item.is_widget:
            continue
        while slots.skip_if(_BUTTON_SLOTS):
            pass
        value = slots.take()
        if value is _MISSING or value is None:
            value = _MISSING if item.default is None else item.default
        yield item.name, _coerce_value(item, value)
        if item.type == "COMFY_DYNAMICCOMBO_V3":
            yield from _assign_values(dynamic_combo_inputs(item, value), slots)
        elif _has_control_slot(item) and slots.skip_if(_CONTROL_AFTER_GENERATE) and item.type == "COMBO":
            slots.take()  # the filter text of the list in the UI


def _has_control_slot(item: NodeInput) -> bool:
    """Return whether a slot follows that says what happens to the value after a run."""
    if item.type == "INT":
        return bool(item.options.get("control_after_generate", item.name in SEED_INPUT_NAMES))
    return item.type == "COMBO" and bool(item.options.get("control_after_generate"))


def _coerce_value(item: NodeInput, value: Any) -> Any:
    """Convert 20.0 to 20 for an INT: JavaScript frontends do not distinguish them."""
    if item.type == "INT" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _values_by_socket(node: UiNode) -> dict[str, Any]:
    """Return the values of an unknown class, whose widget sockets are in the order of the values."""
    if node.named_widget_values:
        return dict(node.named_widget_values)
    slots = _WidgetSlots(node.widget_values if isinstance(node.widget_values, list) else [])
    values: dict[str, Any] = {}
    for socket in node.inputs:
        if socket.widget is None:
            continue
        values[socket.widget] = slots.take()
        if socket.widget in SEED_INPUT_NAMES:
            slots.skip_if(_CONTROL_AFTER_GENERATE)
    return {name: value for name, value in values.items() if value is not _MISSING}

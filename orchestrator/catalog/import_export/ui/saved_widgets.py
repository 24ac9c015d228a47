"""Name the widget values of a node by the version of its pack that saved it, and move them to today's class.

Positions say nothing where the class has other widgets now; names do. Inputs that the class no longer has, or
has got since, are reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeInput, declared_inputs, resolve_inputs
from orchestrator.catalog.import_export.pack_versions import KnownVersions, SavedClass
from orchestrator.catalog.import_export.ui.ui_graph import UiNode
from orchestrator.catalog.import_export.ui.widgets import WidgetValues, has_own_rule, read_widget_values

_MAX_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class NodeClass:
    """The class of a node, and the version of its pack that the file names."""

    name: str
    #: Its facts today; None if they are not known.
    entry: Mapping[str, Any] | None
    version: str


def read_saved_values(node: UiNode, known: NodeClass, versions: KnownVersions) -> WidgetValues:
    """Return the values of a node by the inputs of its class, with the names of the version that saved it."""
    entry, today = known.entry, read_widget_values(node, known.entry)
    if entry is None or not isinstance(node.widget_values, list) or has_own_rule(node):
        return today
    named, found = versions.find_named(known.name, known.version), None
    if named is not None:
        found = _read_as(node, entry, named)
        if found is None and today.mismatch:
            today = replace(today, mismatch=f"{today.mismatch}; that of {named.version} does not fit either")
    if found is None and today.mismatch and (all_classes := versions.find_all(known.name, entry)):
        possible = _read_as_each(node, entry, all_classes)
        if len(possible) == 1:
            [found] = possible
        else:
            ways = f"{len(possible)} ways" if possible else "no way"
            today = replace(today, mismatch=f"{today.mismatch}; they fit the pack's history in {ways}")
    if found is None or (found.by_input == today.by_input and not today.mismatch):
        return today
    return found


def _read_as_each(
    node: UiNode, entry: Mapping[str, Any], classes: Sequence[SavedClass]
) -> list[WidgetValues]:
    """Return the different values that a node has with each of the classes that fit."""
    found: dict[str, WidgetValues] = {}
    for each in classes:
        if (values := _read_as(node, entry, each)) is not None:
            found.setdefault(json.dumps([values.by_input, bool(values.mismatch)], sort_keys=True), values)
    return list(found.values())


def _read_as(node: UiNode, entry: Mapping[str, Any], saved: SavedClass) -> WidgetValues | None:
    """Return the values as a version names them; None if they do not fit it."""
    then = read_widget_values(node, saved.entry, is_tried=True)
    if then.mismatch or then.note or not _names_fit(node, saved.entry):
        return None
    return _move(node, then.by_input, entry, saved)


def _names_fit(node: UiNode, entry: Mapping[str, Any]) -> bool:
    """Return whether a class has each widget that the file names."""
    named = {socket.widget for socket in node.inputs if socket.widget}
    return named <= {item.name for item in declared_inputs(entry)} or any("." in name for name in named)


def _move(
    node: UiNode, values: Mapping[str, Any], entry: Mapping[str, Any], saved: SavedClass
) -> WidgetValues:
    """Return values with names as those of today's class."""
    known = resolve_inputs(entry, values)
    before = resolve_inputs(saved.entry, values)
    linked = {socket.widget or socket.name for socket in node.inputs if socket.link is not None}
    kept = {
        # Of a switch, a text is what a page saves for one without a value.
        name: bool(value) if known[name].type == "BOOLEAN" and isinstance(value, str) else value
        for name, value in values.items()
        if name in known and known[name].is_widget
    }
    lost = {name: value for name, value in values.items() if name not in kept and name not in linked}
    new = {
        name: item.default
        for name, item in known.items()
        if item.is_widget and name not in kept and item.default is not None
    }
    texts = [name for name, value in lost.items() if _is_own_text(before.get(name), value)]
    if texts:
        shown = _list_values({name: lost[name] for name in texts})
        return WidgetValues(
            new | kept,
            f"{saved.version}, which saved the file, has texts for which the installed class has no input:"
            f" {shown}",
        )
    return WidgetValues(new | kept, note=_describe_move(saved, lost, new))


def _is_own_text(item: NodeInput | None, value: Any) -> bool:
    """Return whether a value is a text that the author has written, such as a prompt."""
    if item is None:
        return isinstance(value, str) and bool(value)
    return item.type == "STRING" and bool(value) and value != item.default


def _describe_move(saved: SavedClass, lost: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return which inputs only one of the versions has; empty if there are none."""
    parts = [f"named by {saved.version}"]
    if lost:
        parts.append(f"the installed class lacks {_list_values(lost)}")
    if new:
        parts.append(f"it has these others, which keep their defaults: {_list_values(new)}")
    return "; ".join(parts) if len(parts) > 1 else ""


def _list_values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({_show(value)})" for name, value in values.items())


def _show(value: Any) -> str:
    return repr(value)[:_MAX_SHOWN_CHARACTERS]

"""UI format to API format, as ComfyUI's own frontend does on queueing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, inputs_of
from orchestrator.catalog.import_export.ui.resolve_links import (
    Scope,
    Value,
    executed,
    promoted_values,
    source_of,
)
from orchestrator.catalog.import_export.ui.ui_graph import UiNode, parse_workflow
from orchestrator.catalog.import_export.ui.widgets import widget_values
from orchestrator.catalog.rendering.graph import links_of

#: Where our own export keeps what a graph alone can not say.
OWN_KEY = "pixel_factory"


@dataclass(frozen=True, slots=True)
class Converted:
    """An API-format graph, and what the UI file said besides."""

    graph: dict[str, dict[str, Any]]
    #: File name -> `{"url", "directory"}` as the nodes' properties have them.
    models: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Class that the facts do not know -> the pack that it is said to come from, or "".
    unknown: dict[str, str] = field(default_factory=dict)
    #: What our own export added.
    own: Mapping[str, Any] = field(default_factory=dict)


def convert(data: Any, facts: NodeFacts) -> Converted:
    """Raises BadWorkflow for what is no workflow."""
    workflow = parse_workflow(data)
    own = workflow.extra.get(OWN_KEY)
    result = Converted({}, own=own if isinstance(own, dict) else {})
    # In a file of our own, bypassed nodes are the optional parts of the template.
    absent_too = bool(result.own)

    def widgets(node: UiNode) -> dict[str, Any]:
        return widget_values(node, facts.get(_class_type(node, facts)))

    for scope, node in executed(Scope(workflow, workflow.root, widgets), absent_too):
        class_type = _class_type(node, facts)
        entry = facts.get(class_type)
        if entry is None:
            result.unknown[class_type] = _pack(node)
        inputs = _inputs(scope, node, entry)
        result.graph[scope.api_id(node)] = {
            "class_type": class_type,
            "inputs": inputs,
            "_meta": _meta(node, class_type),
        }
        result.models.update(_models(node))
    drop_dangling(result.graph)
    return result


def _inputs(scope: Scope, node: UiNode, entry: Mapping[str, Any] | None) -> dict[str, Any]:
    values = {**scope.widgets(node), **promoted_values(scope, node)}
    inputs: dict[str, Any] = {name: _literal(value) for name, value in values.items()}
    for socket in node.inputs:
        if socket.link is None:
            continue
        source = source_of(scope, socket)
        if isinstance(source, Value):
            inputs[socket.widget or socket.name] = _literal(source.value)
        elif source is not None:
            inputs[socket.name] = list(source)
    if entry is None:
        return inputs
    # What belongs to options that are not chosen, or to widgets long gone, a server would ignore.
    known = inputs_of(entry, inputs)
    return {name: value for name, value in inputs.items() if name in known}


def _literal(value: Any) -> Any:
    """A list would be taken for a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _class_type(node: UiNode, facts: NodeFacts) -> str:
    named = node.properties.get("Node name for S&R")
    return named if node.type not in facts and isinstance(named, str) and named in facts else node.type


def _meta(node: UiNode, class_type: str) -> dict[str, Any]:
    own = node.properties.get(OWN_KEY)
    meta: dict[str, Any] = {"title": node.title or class_type}
    return meta | ({OWN_KEY: own} if isinstance(own, dict) else {})


def _pack(node: UiNode) -> str:
    properties = node.properties
    named = properties.get("cnr_id") or properties.get("aux_id")
    version = properties.get("ver")
    return f"{named} {version}".strip() if named and version else str(named or "")


def _models(node: UiNode) -> dict[str, dict[str, str]]:
    listed = node.properties.get("models")
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    return {
        str(row["name"]): {key: str(row[key]) for key in ("url", "directory") if row.get(key)}
        for row in rows
        if row.get("name")
    }


def drop_dangling(graph: dict[str, dict[str, Any]]) -> None:
    """Inputs that are linked to a node that is not there are no inputs."""
    for node in graph.values():
        for name, link in list(links_of(node["inputs"])):
            if link.node not in graph or link.slot < 0:
                del node["inputs"][name]

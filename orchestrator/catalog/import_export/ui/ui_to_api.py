"""Convert the UI format to the API format, as ComfyUI's frontend does when it queues a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, resolve_inputs
from orchestrator.catalog.import_export.ui.resolve_links import (
    GraphScope,
    LiteralValue,
    iter_executed_nodes,
    proxy_widget_values,
    resolve_source,
)
from orchestrator.catalog.import_export.ui.ui_graph import UiNode, parse_ui_workflow
from orchestrator.catalog.import_export.ui.widgets import read_widget_values
from orchestrator.catalog.rendering.graph import iter_links

#: Key of the export metadata, from which an import restores the model.
EXPORT_METADATA_KEY = "pixel_factory"


@dataclass(frozen=True, slots=True)
class ConvertedWorkflow:
    """An API-format graph, and further information of the file."""

    graph: dict[str, dict[str, Any]]
    #: File name -> `{"url", "directory"}` from the nodes' properties.
    model_downloads: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Class without facts -> its node pack according to the file, or "".
    unknown_classes: dict[str, str] = field(default_factory=dict)
    #: Metadata of an exported model; empty for other workflows.
    export_metadata: Mapping[str, Any] = field(default_factory=dict)


def convert_ui_to_api(data: Any, facts: NodeFacts) -> ConvertedWorkflow:
    """Convert a workflow. Raises InvalidWorkflow."""
    workflow = parse_ui_workflow(data)
    own = workflow.extra.get(EXPORT_METADATA_KEY)
    result = ConvertedWorkflow({}, export_metadata=own if isinstance(own, dict) else {})
    # In an exported model, bypassed nodes are the optional nodes of the template.
    absent_too = bool(result.export_metadata)

    def widgets(node: UiNode) -> dict[str, Any]:
        return read_widget_values(node, facts.get(_node_class_type(node, facts)))

    for scope, node in iter_executed_nodes(GraphScope(workflow, workflow.root, widgets), absent_too):
        class_type = _node_class_type(node, facts)
        entry = facts.get(class_type)
        if entry is None:
            result.unknown_classes[class_type] = _node_pack(node)
        inputs = _convert_inputs(scope, node, entry)
        result.graph[scope.api_id(node)] = {
            "class_type": class_type,
            "inputs": inputs,
            "_meta": _node_meta(node, class_type),
        }
        result.model_downloads.update(_read_model_downloads(node))
    drop_dangling_links(result.graph)
    return result


def _convert_inputs(scope: GraphScope, node: UiNode, entry: Mapping[str, Any] | None) -> dict[str, Any]:
    values = {**scope.read_widget_values(node), **proxy_widget_values(scope, node)}
    inputs: dict[str, Any] = {name: _wrap_list(value) for name, value in values.items()}
    for socket in node.inputs:
        if socket.link is None:
            continue
        source = resolve_source(scope, socket)
        if isinstance(source, LiteralValue):
            inputs[socket.widget or socket.name] = _wrap_list(source.value)
        elif source is not None:
            inputs[socket.name] = list(source)
    if entry is None:
        return inputs
    # Drop inputs of options that are not selected, and of removed widgets: a server ignores them.
    known = resolve_inputs(entry, inputs)
    return {name: value for name, value in inputs.items() if name in known}


def _wrap_list(value: Any) -> Any:
    """Wrap a list, which would otherwise be parsed as a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _node_class_type(node: UiNode, facts: NodeFacts) -> str:
    named = node.properties.get("Node name for S&R")
    return named if node.type not in facts and isinstance(named, str) and named in facts else node.type


def _node_meta(node: UiNode, class_type: str) -> dict[str, Any]:
    own = node.properties.get(EXPORT_METADATA_KEY)
    meta: dict[str, Any] = {"title": node.title or class_type}
    return meta | ({EXPORT_METADATA_KEY: own} if isinstance(own, dict) else {})


def _node_pack(node: UiNode) -> str:
    properties = node.properties
    named = properties.get("cnr_id") or properties.get("aux_id")
    version = properties.get("ver")
    return f"{named} {version}".strip() if named and version else str(named or "")


def _read_model_downloads(node: UiNode) -> dict[str, dict[str, str]]:
    listed = node.properties.get("models")
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    return {
        str(row["name"]): {key: str(row[key]) for key in ("url", "directory") if row.get(key)}
        for row in rows
        if row.get("name")
    }


def drop_dangling_links(graph: dict[str, dict[str, Any]]) -> None:
    """Remove inputs that are linked to a missing node."""
    for node in graph.values():
        for name, link in list(iter_links(node["inputs"])):
            if link.node not in graph or link.slot < 0:
                del node["inputs"][name]

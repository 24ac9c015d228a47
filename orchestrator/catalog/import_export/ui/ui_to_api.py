"""Convert the UI format to the API format, as ComfyUI's frontend does when it queues a prompt."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, resolve_inputs
from orchestrator.catalog.import_export.old_classes import current_class
from orchestrator.catalog.import_export.pack_versions import (
    NO_VERSIONS,
    KnownVersions,
    describe_facts_command,
    node_version,
)
from orchestrator.catalog.import_export.ui.group_nodes import expand_group_nodes
from orchestrator.catalog.import_export.ui.page_inputs import OPEN_CLASSES
from orchestrator.catalog.import_export.ui.resolve_links import (
    GraphScope,
    LiteralValue,
    iter_executed_nodes,
    proxy_widget_values,
    resolve_source,
)
from orchestrator.catalog.import_export.ui.saved_widgets import NodeClass, read_saved_values
from orchestrator.catalog.import_export.ui.ui_graph import (
    InvalidWorkflow,
    NodeMode,
    UiNode,
    is_ui_format,
    parse_ui_workflow,
)
from orchestrator.catalog.import_export.ui.use_everywhere import add_broadcast_links
from orchestrator.catalog.import_export.ui.widgets import WidgetValues, read_widget_values
from orchestrator.catalog.rendering.graph import iter_links

#: Key of the export metadata, from which an import restores the model.
EXPORT_METADATA_KEY = "pixel_factory"
#: What an author can do about values of another version.
SAVE_AGAIN = "save the workflow again with this version of the pack"
#: Key of `_meta` for the values of a node whose inputs are not known, by position.
POSITIONAL_VALUES_KEY = "widgets_values"


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
    #: Node -> why its values may belong to other inputs.
    mismatches: dict[str, str] = field(default_factory=dict)
    #: Node -> how values of another version of the class were assigned, which the author should know.
    placed: dict[str, str] = field(default_factory=dict)
    #: What was changed because classes have changed since the file was saved.
    changes: list[str] = field(default_factory=list)
    #: Nodes that have no outputs.
    sinks: set[str] = field(default_factory=set)
    #: Nodes without outputs that are muted or bypassed: id -> class.
    inactive_sinks: dict[str, str] = field(default_factory=dict)
    #: Weight files of the author's ComfyUI, below `models/`.
    weight_paths: Collection[str] = ()


def convert_ui_to_api(
    data: Any,
    facts: NodeFacts,
    pack_classes: Container[str] = (),
    versions: KnownVersions = NO_VERSIONS,
) -> ConvertedWorkflow:
    """Convert a workflow. Raises InvalidWorkflow.

    `pack_classes` are classes of node packs, which may declare other inputs than the version that saved the
    file, and take inputs that they do not declare. `versions` are those with which files may have been saved.
    """
    if not is_ui_format(data):
        raise InvalidWorkflow("the workflow has no list of nodes")
    workflow = parse_ui_workflow(add_broadcast_links(expand_group_nodes(data, facts)))
    own = workflow.extra.get(EXPORT_METADATA_KEY)
    result = ConvertedWorkflow({}, export_metadata=own if isinstance(own, dict) else {})
    # In an exported model, bypassed nodes are the optional nodes of the template.
    absent_too = bool(result.export_metadata)

    def widgets(node: UiNode) -> WidgetValues:
        class_type = _node_class_type(node, facts)
        version = node_version(node.properties, workflow.extra)
        return read_saved_values(node, NodeClass(class_type, facts.get(class_type), version), versions)

    root = GraphScope(workflow, workflow.root, lambda node: widgets(node).by_input)
    for scope, node in iter_executed_nodes(root, absent_too):
        class_type, id = _node_class_type(node, facts), scope.api_id(node)
        entry, values = facts.get(class_type), widgets(node)
        if entry is None:
            result.unknown_classes[class_type] = _node_pack(node)
        if values.mismatch and class_type in pack_classes:
            way = _describe_way_out(node, class_type, workflow.extra, versions)
            result.mismatches[id] = f"{values.mismatch}; {SAVE_AGAIN}; {way}"
        if values.note and class_type in pack_classes:
            result.placed[id] = values.note
        takes_all = class_type in pack_classes or class_type in OPEN_CLASSES
        meta = _node_meta(node, class_type)
        if entry is None:
            meta |= _pack_identity(node)
        if values.by_position:
            meta[POSITIONAL_VALUES_KEY] = list(values.by_position)
        if not node.outputs:
            result.sinks.add(id)
        inputs = _convert_inputs(scope, node, values, entry, takes_all=takes_all)
        result.graph[id] = {"class_type": class_type, "inputs": inputs, "_meta": meta}
        result.model_downloads.update(_read_model_downloads(node))
    drop_dangling_links(result.graph)
    result.inactive_sinks.update(_inactive_sinks(root, result.graph, facts))
    return result


def _inactive_sinks(root: GraphScope, active: Container[str], facts: NodeFacts) -> Iterator[tuple[str, str]]:
    """Yield id and class of nodes without outputs that are muted or bypassed."""
    for scope, node in iter_executed_nodes(root, include_inactive=True):
        if scope.api_id(node) not in active and not node.outputs and node.inputs:
            yield scope.api_id(node), _node_class_type(node, facts)


def _describe_way_out(
    node: UiNode, class_type: str, extra: Mapping[str, Any], versions: KnownVersions
) -> str:
    """Return how an author gives the facts of the version that saved a node."""
    version, url = node_version(node.properties, extra), versions.urls.get(class_type, "")
    known = versions.find_named(class_type, version)
    return describe_facts_command(class_type, node.properties, version, url, is_known=known is not None)


def _convert_inputs(
    scope: GraphScope,
    node: UiNode,
    widget_values: WidgetValues,
    entry: Mapping[str, Any] | None,
    *,
    takes_all: bool,
) -> dict[str, Any]:
    values = {**widget_values.by_input, **proxy_widget_values(scope, node)}
    inputs: dict[str, Any] = {name: _wrap_list(value) for name, value in values.items()}
    for socket in node.inputs:
        if socket.link is None:
            continue
        source = resolve_source(scope, socket)
        if isinstance(source, LiteralValue):
            inputs[socket.widget or socket.name] = _wrap_list(source.value)
        elif source is not None:
            inputs[socket.name] = list(source)
    if entry is None or takes_all:
        return inputs
    # Drop inputs of options that are not selected, and of removed widgets: a server ignores them.
    known = resolve_inputs(entry, inputs)
    return {name: value for name, value in inputs.items() if name in known}


def name_positional_values(
    node: Mapping[str, Any], entry: Mapping[str, Any] | None
) -> tuple[dict[str, Any], str]:
    """Return the inputs of an API-format node with its values by position, and why these may not fit.

    They are kept while the facts of the class are missing. Links and values with names win.
    """
    kept = node["_meta"].get(POSITIONAL_VALUES_KEY)
    if entry is None or not isinstance(kept, list):
        return node["inputs"], ""
    bare = UiNode("", node["class_type"], "", NodeMode.ALWAYS, (), (), kept, {}, {})
    values = read_widget_values(bare, entry)
    named = {name: _wrap_list(value) for name, value in values.by_input.items()}
    return {**named, **node["inputs"]}, values.mismatch


def _wrap_list(value: Any) -> Any:
    """Wrap a list, which would otherwise be parsed as a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _node_class_type(node: UiNode, facts: NodeFacts) -> str:
    named = node.properties.get("Node name for S&R")
    if node.type not in facts and isinstance(named, str) and named in facts:
        return named
    return current_class(node.type, facts)


def _node_meta(node: UiNode, class_type: str) -> dict[str, Any]:
    own = node.properties.get(EXPORT_METADATA_KEY)
    meta: dict[str, Any] = {"title": node.title or class_type}
    return meta | ({EXPORT_METADATA_KEY: own} if isinstance(own, dict) else {})


def _pack_identity(node: UiNode) -> dict[str, str]:
    """Return what the file says of the node pack of a class, for the `_meta` of a node."""
    keys = ("cnr_id", "aux_id", "ver")
    return {key: node.properties[key] for key in keys if isinstance(node.properties.get(key), str)}


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

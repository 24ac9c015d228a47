"""Parse ComfyUI's UI format (schemas 0.4 and 1.0) to plain values, without interpreting widget values.

Files are untrusted: unexpected data raises InvalidWorkflow with its location.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

#: Maximum number of nodes of a workflow and all its subgraph definitions.
MAX_NODES = 10_000


class InvalidWorkflow(Exception):
    """A workflow cannot be converted. The message says where and why."""


class NodeMode(IntEnum):
    """The mode of a node; any other value counts as ALWAYS."""

    ALWAYS = 0
    MUTED = 2  #: omitted
    BYPASSED = 4  #: omitted, its inputs are passed through


@dataclass(frozen=True, slots=True)
class NodeSocket:
    """An input or output of a node, or of a subgraph."""

    name: str
    type: str
    #: Id of the link to this input; None for outputs and unlinked inputs.
    link: str | None = None
    #: Name of the widget of this input, if any.
    widget: str | None = None


@dataclass(frozen=True, slots=True)
class UiLink:
    """A link from an output to an input."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, slots=True)
class UiNode:
    """A node as it is stored in the file."""

    id: str
    type: str
    title: str
    mode: NodeMode
    inputs: Sequence[NodeSocket]
    outputs: Sequence[NodeSocket]
    #: Positional (a list) or by name (an object); None if there are none.
    widget_values: list[Any] | dict[str, Any] | None
    #: Written in addition to `widget_values` by recent frontends.
    named_widget_values: Mapping[str, Any]
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UiGraph:
    """A workflow, or the definition of a subgraph, which has its own sockets."""

    id: str
    nodes: Mapping[str, UiNode]
    links: Mapping[str, UiLink]
    inputs: Sequence[NodeSocket] = ()
    outputs: Sequence[NodeSocket] = ()


@dataclass(frozen=True, slots=True)
class UiWorkflow:
    """A workflow with the definitions of its subgraphs."""

    root: UiGraph
    #: Definitions by id; a node with this id as its type is an instance.
    subgraphs: Mapping[str, UiGraph]
    extra: Mapping[str, Any]


#: Node ids that stand for a subgraph's own inputs and outputs in its links.
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"


def is_ui_format(data: Any) -> bool:
    """Return whether JSON data is a workflow in UI format."""
    return isinstance(data, dict) and isinstance(data.get("nodes"), list)


def parse_ui_workflow(data: Any) -> UiWorkflow:
    """Parse a workflow. Raises InvalidWorkflow."""
    if not is_ui_format(data):
        raise InvalidWorkflow("the workflow has no list of nodes")
    definitions = as_mapping(data.get("definitions")).get("subgraphs") or []
    graphs = [_parse_graph(item, f"subgraph {index}") for index, item in enumerate(as_list(definitions))]
    root = _parse_graph(data, "workflow")
    if sum(len(graph.nodes) for graph in (root, *graphs)) > MAX_NODES:
        raise InvalidWorkflow(f"more than {MAX_NODES} nodes")
    extra = as_mapping(data.get("extra"))
    return UiWorkflow(root, {graph.id: graph for graph in graphs}, extra)


def _parse_graph(data: Any, location: str) -> UiGraph:
    data = as_mapping(data)
    nodes = [
        _parse_node(item, f"{location}, node {index}")
        for index, item in enumerate(as_list(data.get("nodes")))
    ]
    links = dict(_parse_link(item, location) for item in as_list(data.get("links")) if item is not None)
    return UiGraph(
        id=_parse_id(data.get("id")),
        nodes=_by_id(nodes, location),
        links=links,
        inputs=[_parse_socket(item) for item in as_list(data.get("inputs"))]
        if location != "workflow"
        else (),
        outputs=[_parse_socket(item) for item in as_list(data.get("outputs"))]
        if location != "workflow"
        else (),
    )


def _by_id(nodes: Iterable[UiNode], location: str) -> dict[str, UiNode]:
    """Return nodes by id; equal ones with one id count once. Raises InvalidWorkflow for two others."""
    found: dict[str, UiNode] = {}
    for node in nodes:
        first = found.setdefault(node.id, node)
        if first != node:
            named = [f"{each.type}{f' ({each.title})' if each.title else ''}" for each in (first, node)]
            raise InvalidWorkflow(
                f"{location}: two nodes have the id {node.id}: {' and '.join(named)}. Links to it may mean"
                " either; delete one in ComfyUI, or give it an id that no other node has"
            )
    return found


def _parse_node(data: Any, location: str) -> UiNode:
    if not isinstance(data, dict) or "id" not in data or not isinstance(data.get("type"), str):
        raise InvalidWorkflow(f"{location}: must be an object with id and type")
    values = data.get("widgets_values")
    return UiNode(
        id=_parse_id(data["id"]),
        type=data["type"],
        title=str(data.get("title") or ""),
        mode=NodeMode(data["mode"])
        if data.get("mode") in (NodeMode.MUTED, NodeMode.BYPASSED)
        else NodeMode.ALWAYS,
        inputs=[_parse_socket(item) for item in as_list(data.get("inputs"))],
        outputs=[_parse_socket(item) for item in as_list(data.get("outputs"))],
        widget_values=values if isinstance(values, list | dict) else None,
        named_widget_values=as_mapping(data.get("widgets_values_named")),
        properties=as_mapping(data.get("properties")),
    )


def _parse_socket(data: Any) -> NodeSocket:
    data = as_mapping(data)
    link, widget = data.get("link"), as_mapping(data.get("widget")).get("name")
    return NodeSocket(
        name=str(data.get("name", "")),
        type=_parse_type(data.get("type")),
        link=None if link is None else _parse_id(link),
        widget=None if widget is None else str(widget),
    )


def _parse_link(data: Any, location: str) -> tuple[str, UiLink]:
    """Parse a link, which is an object or a list."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    try:
        parts = [data[key] for key in keys] if isinstance(data, dict) else list(data)[:5]
        id, origin, origin_slot, target, target_slot = parts
        return _parse_id(id), UiLink(_parse_id(origin), int(origin_slot), _parse_id(target), int(target_slot))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidWorkflow(
            f"{location}: a link must have id, origin, origin slot, target and target slot"
        ) from error


def _parse_type(value: Any) -> str:
    """Return the type name; old files have a list of options as the type."""
    return "COMBO" if isinstance(value, list) else str(value if value not in (None, "", 0) else "*")


def _parse_id(value: Any) -> str:
    """Return an id as text; most files have integers."""
    return str(value) if isinstance(value, int | str) else ""


def as_list(value: Any) -> Sequence[Any]:
    """Return `value` if it is a JSON list, else an empty one."""
    return value if isinstance(value, list) else []


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}

"""ComfyUI's UI format (schemas 0.4 and 1.0) as plain values. What a node's values mean is not decided here.

Files come from anybody: whatever is not of the expected shape raises BadWorkflow naming the place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

#: Nodes of a workflow and of all its subgraph definitions together.
MAX_NODES = 10_000


class BadWorkflow(Exception):
    """A file is no workflow that can be converted. The message says where and why."""


class Mode(IntEnum):
    """What the author has set a node to; anything else counts as ALWAYS."""

    ALWAYS = 0
    MUTED = 2  #: not there at all
    BYPASSED = 4  #: not there, its inputs handed through


@dataclass(frozen=True, slots=True)
class Socket:
    """An input or output of a node, or of a subgraph."""

    name: str
    type: str
    #: Id of the link that ends here; None for outputs and unlinked inputs.
    link: str | None = None
    #: Name of the widget that the socket stands for, if any.
    widget: str | None = None


@dataclass(frozen=True, slots=True)
class UiLink:
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, slots=True)
class UiNode:
    id: str
    type: str
    title: str
    mode: Mode
    inputs: Sequence[Socket]
    outputs: Sequence[Socket]
    #: Positional (a list) or by name (an object); None where there are none.
    values: list[Any] | dict[str, Any] | None
    #: Written beside `values` by recent frontends.
    named_values: Mapping[str, Any]
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UiGraph:
    """A workflow, or the definition of a subgraph; the latter has sockets of its own."""

    id: str
    nodes: Mapping[str, UiNode]
    links: Mapping[str, UiLink]
    inputs: Sequence[Socket] = ()
    outputs: Sequence[Socket] = ()


@dataclass(frozen=True, slots=True)
class Workflow:
    root: UiGraph
    #: Definitions by id; an instance is a node whose type is that id.
    subgraphs: Mapping[str, UiGraph]
    extra: Mapping[str, Any]


#: Ids by which a subgraph's links name its own inputs and outputs.
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"


def is_ui_format(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("nodes"), list)


def parse_workflow(data: Any) -> Workflow:
    """Raises BadWorkflow."""
    if not is_ui_format(data):
        raise BadWorkflow("there is no list of nodes")
    definitions = _mapping(data.get("definitions")).get("subgraphs") or []
    graphs = [_graph(item, f"subgraph {index}") for index, item in enumerate(_items(definitions))]
    root = _graph(data, "workflow")
    if sum(len(graph.nodes) for graph in (root, *graphs)) > MAX_NODES:
        raise BadWorkflow(f"more than {MAX_NODES} nodes")
    extra = _mapping(data.get("extra"))
    if extra.get("groupNodes"):
        raise BadWorkflow("group nodes are a format of the past; ComfyUI turns them into subgraphs on saving")
    return Workflow(root, {graph.id: graph for graph in graphs}, extra)


def _graph(data: Any, place: str) -> UiGraph:
    data = _mapping(data)
    nodes = [_node(item, f"{place}, node {index}") for index, item in enumerate(_items(data.get("nodes")))]
    links = dict(_link(item, place) for item in _items(data.get("links")) if item is not None)
    return UiGraph(
        id=_id(data.get("id")),
        nodes={node.id: node for node in nodes},
        links=links,
        inputs=[_socket(item) for item in _items(data.get("inputs"))] if place != "workflow" else (),
        outputs=[_socket(item) for item in _items(data.get("outputs"))] if place != "workflow" else (),
    )


def _node(data: Any, place: str) -> UiNode:
    if not isinstance(data, dict) or "id" not in data or not isinstance(data.get("type"), str):
        raise BadWorkflow(f"{place}: expected an object with id and type")
    values = data.get("widgets_values")
    return UiNode(
        id=_id(data["id"]),
        type=data["type"],
        title=str(data.get("title") or ""),
        mode=Mode(data["mode"]) if data.get("mode") in (Mode.MUTED, Mode.BYPASSED) else Mode.ALWAYS,
        inputs=[_socket(item) for item in _items(data.get("inputs"))],
        outputs=[_socket(item) for item in _items(data.get("outputs"))],
        values=values if isinstance(values, list | dict) else None,
        named_values=_mapping(data.get("widgets_values_named")),
        properties=_mapping(data.get("properties")),
    )


def _socket(data: Any) -> Socket:
    data = _mapping(data)
    link, widget = data.get("link"), _mapping(data.get("widget")).get("name")
    return Socket(
        name=str(data.get("name", "")),
        type=_type(data.get("type")),
        link=None if link is None else _id(link),
        widget=None if widget is None else str(widget),
    )


def _link(data: Any, place: str) -> tuple[str, UiLink]:
    """A link in either of its shapes."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    try:
        parts = [data[key] for key in keys] if isinstance(data, dict) else list(data)[:5]
        id, origin, origin_slot, target, target_slot = parts
        return _id(id), UiLink(_id(origin), int(origin_slot), _id(target), int(target_slot))
    except (KeyError, TypeError, ValueError) as error:
        raise BadWorkflow(f"{place}: a link is not of the expected shape") from error


def _type(value: Any) -> str:
    """Old files write option lists as the type."""
    return "COMBO" if isinstance(value, list) else str(value if value not in (None, "", 0) else "*")


def _id(value: Any) -> str:
    """Ids are integers in most files and texts in the newest."""
    return str(value) if isinstance(value, int | str) else ""


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

"""Parse `graph.json`, a ComfyUI API-format graph with expressions, and check its structure.

    {"sampler": {"class_type": "KSampler",
                 "inputs": {"seed": "{{ seed }}", "model": ["unet", 0], ...},
                 "_meta": {"title": "Sampler"}}}

An input is a literal or a link `[node id, output slot]`. Keys of `_meta` can make a node conditional or
repeat it; `orchestrator.catalog.rendering.render` implements them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from orchestrator.catalog.errors import CatalogError, first_validation_error

#: An API-format graph: node id -> `{"class_type", "inputs", "_meta"}`.
ApiGraph = dict[str, dict[str, Any]]
#: An API-format graph that is only read.
ApiGraphView = Mapping[str, Mapping[str, Any]]

#: Maximum size of a graph in bytes; the largest published ones are below 2 MB.
MAX_GRAPH_BYTES = 8 * 2**20
#: Nodes that are validated at once.
_NODES_AT_ONCE = 200
#: Maximum nesting of lists and objects; real graphs have six levels.
MAX_JSON_DEPTH = 100


class Link(NamedTuple):
    """The output `slot` of `node`."""

    node: str
    slot: int


class NodeMeta(BaseModel):
    """The `_meta` object of a node, which ComfyUI ignores."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: str = ""
    #: Expression: the node is omitted if it is false.
    when: str | None = None
    #: Expression for a list: the node is repeated for each `item`.
    each: str | None = None
    #: Output slot -> its replacement if the node is omitted: the source of one of the node's inputs (the
    #: input's name), or another output (a link).
    bypass: dict[str, Any] = Field(default_factory=dict)
    # Written by ComfyUI's export: the node pack that provides the node.
    cnr_id: str | None = None
    aux_id: str | None = None
    ver: str | None = None
    #: Written by the import: values of a class without facts, by position, as the names are not known.
    widgets_values: list[Any] | None = None


class GraphNode(BaseModel):
    """A node of a model's graph."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    class_type: str = Field(min_length=1)
    inputs: dict[str, Any]
    meta: NodeMeta = Field(default_factory=NodeMeta, alias="_meta")


_NODES_ADAPTER = TypeAdapter(dict[str, GraphNode])


def parse_link(value: Any) -> Link | None:
    """Return the link if an input's value is one, or None for a literal."""
    if isinstance(value, list) and len(value) == 2:
        node, slot = value
        # A switch is no slot, although it is an `int` of Python.
        if isinstance(node, str) and type(slot) is int:
            return Link(node, slot)
    return None


def unwrap_value(value: Any) -> Any:
    """Return the value in `{"__value__": ...}`, in which a page sends what could be taken for a link.

    A server takes it out of objects with further keys, too.
    """
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def copy_json(value: Any) -> Any:
    """Return a copy of JSON data, in a fraction of the time of `copy.deepcopy`. Raises RecursionError."""
    if isinstance(value, dict):
        return {key: copy_json(item) for key, item in value.items()}
    return [copy_json(item) for item in value] if isinstance(value, list) else value


def iter_links(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Link]]:
    """Yield the name and link of every linked input."""
    for name, value in inputs.items():
        # Most inputs are no lists, and graphs have many.
        link = parse_link(value) if isinstance(value, list) else None
        if link is not None:
            yield name, link


def find_upstream_nodes(graph: ApiGraphView, outputs: Iterable[str]) -> set[str]:
    """Return the nodes that the `outputs` depend on, including themselves; a server runs no others."""
    found: set[str] = set()
    waiting = [id for id in outputs if id in graph]
    while waiting:
        id = waiting.pop()
        if id not in found:
            found.add(id)
            inputs = graph[id].get("inputs") or {}
            waiting.extend(link.node for _, link in iter_links(inputs) if link.node in graph)
    return found


def parse_graph(text: str, file: Path) -> dict[str, GraphNode]:
    """Parse the nodes of a graph by id. Raises CatalogError naming `file`, the node and the input."""
    if len(text) > MAX_GRAPH_BYTES:
        raise CatalogError(f"the graph is larger than {MAX_GRAPH_BYTES} bytes", file=file)
    try:
        data = json.loads(text, object_pairs_hook=_reject_duplicate_keys, parse_constant=_reject_constant)
        check_nesting_depth(data)
        nodes = _validate_nodes(data)
    except ValidationError as error:
        raise first_validation_error(error, file, _format_location) from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"not a valid JSON graph: {error}", file=file) from error
    for id, node in nodes.items():
        _validate_node(id, node, nodes, file)
    if path := find_cycle({id: node.inputs for id, node in nodes.items()}):
        reason = f"nodes depend on each other: {' -> '.join(path)}"
        raise CatalogError(reason, file=file, where=f"node {path[0]}")
    return nodes


def _validate_nodes(data: Any) -> dict[str, GraphNode]:
    """Return the nodes of a graph. Raises ValidationError.

    Validation keeps other threads from running; between two groups of nodes they can.
    """
    if not isinstance(data, dict) or len(data) <= _NODES_AT_ONCE:
        return _NODES_ADAPTER.validate_python(data)
    nodes: dict[str, GraphNode] = {}
    items = list(data.items())
    for start in range(0, len(items), _NODES_AT_ONCE):
        nodes |= _NODES_ADAPTER.validate_python(dict(items[start : start + _NODES_AT_ONCE]))
    return nodes


def find_cycle(inputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a cycle of nodes, its first node repeated at the end; empty if there is none.

    `inputs` are the inputs of each node.
    """
    edges = {id: {link.node for _, link in iter_links(values)} for id, values in inputs.items()}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return [*reversed(error.args[1])]
    return []


def check_nesting_depth(data: Any) -> None:
    """Raise ValueError for JSON that is nested too deeply to be traversed recursively."""
    level = [data]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            inner
            for item in level
            if isinstance(item, list | dict)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    if level:
        raise ValueError(f"nested more than {MAX_JSON_DEPTH} levels deep")


def _validate_node(id: str, node: GraphNode, nodes: Mapping[str, GraphNode], file: Path) -> None:
    for name, link in iter_links(node.inputs):
        if link.node not in nodes or link.slot < 0:
            reason = f"links to {list(link)}, which does not exist"
            raise CatalogError(reason, file=file, where=f"node {id}, input {name}")
    for slot, stand_in in node.meta.bypass.items():
        source = parse_link(node.inputs.get(stand_in) if isinstance(stand_in, str) else stand_in)
        if not slot.isdecimal() or source is None or source.node not in nodes:
            reason = f"bypass must map an output slot to a linked input or a link (got {slot} -> {stand_in})"
            raise CatalogError(reason, file=file, where=f"node {id}")
    if node.meta.each is not None and any(other.startswith(f"{id}.") for other in nodes):
        reason = f"no other node may be named {id}.*: these are the names of the copies of a repeated node"
        raise CatalogError(reason, file=file, where=f"node {id}")
    if node.meta.bypass and node.meta.when is None and node.meta.each is None:
        raise CatalogError("`bypass` requires `when` or `each`", file=file, where=f"node {id}")


def _format_location(location: tuple[int | str, ...]) -> str:
    """Return `node N, input I` for the location of a validation error."""
    if len(location) > 2 and location[1] == "inputs":
        return f"node {location[0]}, input {location[2]}"
    return ", ".join([f"node {location[0]}", *map(str, location[1:])]) if location else ""


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"duplicate key {counts.most_common(1)[0][0]!r} in an object")
    return result


def _reject_constant(text: str) -> Any:
    raise ValueError(f"{text} is not valid JSON")

"""`graph.json`: a ComfyUI API-format graph, read and checked for shape.

    {"sampler": {"class_type": "KSampler",
                 "inputs": {"seed": "{{ seed }}", "model": ["unet", 0], ...},
                 "_meta": {"title": "Sampler"}}}

An input is a literal or a link `[node id, output slot]`. Beyond ComfyUI's own keys, `_meta` may say
when a node is there at all and how often; `orchestrator.catalog.rendering.render` gives these words a
meaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from orchestrator.catalog.errors import CatalogError

#: Bytes. The largest graphs that people publish are below 2 MB.
MAX_GRAPH_BYTES = 8 * 2**20
#: Levels of lists and objects within one another; real graphs have six.
MAX_JSON_DEPTH = 100


class Link(NamedTuple):
    """The output `slot` of `node`."""

    node: str
    slot: int


class NodeMeta(BaseModel):
    """What stands beside a node; ComfyUI ignores all of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: str = ""
    #: Expression: the node is there only where it holds.
    when: str | None = None
    #: Expression that gives a list: the node is there once for each `item`.
    each: str | None = None
    #: Output slot -> what stands in for it when the node is not there: the source of one of its
    #: inputs (the input's name), or another output (a link).
    bypass: dict[str, Any] = Field(default_factory=dict)
    # Written by ComfyUI's own export: the pack that a node comes from.
    cnr_id: str | None = None
    aux_id: str | None = None
    ver: str | None = None


class GraphNode(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    class_type: str = Field(min_length=1)
    inputs: dict[str, Any]
    meta: NodeMeta = Field(default_factory=NodeMeta, alias="_meta")


_NODES_ADAPTER = TypeAdapter(dict[str, GraphNode])


def parse_link(value: Any) -> Link | None:
    """The link that an input's value is, or None for a literal."""
    if isinstance(value, list) and len(value) == 2:
        node, slot = value
        if isinstance(node, str) and isinstance(slot, int) and not isinstance(slot, bool):
            return Link(node, slot)
    return None


def iter_links(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Link]]:
    """The inputs that are links."""
    for name, value in inputs.items():
        link = parse_link(value)
        if link is not None:
            yield name, link


def parse_graph(text: str, file: Path) -> dict[str, GraphNode]:
    """The nodes in `text` by id. Raises CatalogError naming `file`, the node and the input."""
    if len(text) > MAX_GRAPH_BYTES:
        raise CatalogError(f"larger than {MAX_GRAPH_BYTES} bytes", file=file)
    try:
        data = json.loads(text, object_pairs_hook=_reject_duplicate_keys, parse_constant=_reject_constant)
        check_nesting_depth(data)
        nodes = _NODES_ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise CatalogError(first["msg"], file=file, where=_format_location(first["loc"])) from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"not a graph in JSON: {error}", file=file) from error
    for id, node in nodes.items():
        _validate_node(id, node, nodes, file)
    if path := find_cycle({id: node.inputs for id, node in nodes.items()}):
        reason = f"nodes depend on each other: {' -> '.join(path)}"
        raise CatalogError(reason, file=file, where=f"node {path[0]}")
    return nodes


def find_cycle(inputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Nodes of which each is linked to the next, the last one being the first again; empty where there are
    none. `inputs` are those of each node."""
    edges = {id: {link.node for _, link in iter_links(values)} for id, values in inputs.items()}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return [*reversed(error.args[1])]
    return []


def check_nesting_depth(data: Any) -> None:
    """Raises ValueError for JSON that is nested so deeply that walking it would exhaust the stack."""
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
            reason = f"links to {list(link)}, which is not there"
            raise CatalogError(reason, file=file, where=f"node {id}, input {name}")
    for slot, stand_in in node.meta.bypass.items():
        source = parse_link(node.inputs.get(stand_in) if isinstance(stand_in, str) else stand_in)
        if not slot.isdecimal() or source is None or source.node not in nodes:
            reason = f"bypass {slot} -> {stand_in} must be an output slot, and a linked input or a link"
            raise CatalogError(reason, file=file, where=f"node {id}")
    if node.meta.each is not None and any(other.startswith(f"{id}.") for other in nodes):
        reason = f"the copies of a repeated node are called {id}.0, {id}.1, ...: no other may be"
        raise CatalogError(reason, file=file, where=f"node {id}")
    if node.meta.bypass and node.meta.when is None and node.meta.each is None:
        raise CatalogError("bypass needs `when` or `each`", file=file, where=f"node {id}")


def _format_location(location: tuple[int | str, ...]) -> str:
    """`node N, input I` for the location of a validation error."""
    if len(location) > 2 and location[1] == "inputs":
        return f"node {location[0]}, input {location[2]}"
    return ", ".join([f"node {location[0]}", *map(str, location[1:])]) if location else ""


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return result


def _reject_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")

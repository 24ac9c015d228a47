"""Draw the links that the nodes of the pack Use Everywhere stand for.

Its newer versions write them into the file as `extra.ue_links`. For older files they are worked out: a node
sends what it gets to each unlinked input of the same type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.catalog.import_export.ui.ui_graph import NodeMode, as_list, as_mapping
from orchestrator.catalog.import_export.ui.virtual_nodes import BROADCAST_TYPES, VIRTUAL_NODE_TYPES

_POSITIVE_PATTERN = r"(_|\b)pos(itive|_|\b)|^prompt|^text_positive"
_NEGATIVE_PATTERN = r"(_|\b)neg(ative|_|\b)"
_MAX_PATTERN_LENGTH = 200
#: Broadcasting nodes that choose inputs by their names.
_SELECTIVE_TYPES = frozenset({"Anything Everywhere?", "Prompts Everywhere"})
_ANY = "*"

Json = dict[str, Any]


def add_broadcast_links(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a workflow in whose graphs the broadcast links are drawn."""
    result = _link_graph(data)
    definitions = as_mapping(data.get("definitions"))
    subgraphs = as_list(definitions.get("subgraphs"))
    if not subgraphs:
        return result
    inner = [_link_graph(as_mapping(graph)) for graph in subgraphs]
    return {**result, "definitions": {**definitions, "subgraphs": inner}}


def _link_graph(graph: Mapping[str, Any]) -> Mapping[str, Any]:
    nodes = [node for node in as_list(graph.get("nodes")) if isinstance(node, dict)]
    stored = as_list(as_mapping(graph.get("extra")).get("ue_links"))
    if not stored and not any(str(node.get("type")) in BROADCAST_TYPES for node in nodes):
        return graph
    nodes = [
        node | {"inputs": [dict(as_mapping(each)) for each in as_list(node.get("inputs"))]} for node in nodes
    ]
    rows = list(_stored_links(stored)) or list(_broadcast_links(nodes, _links_by_id(graph)))
    by_id = {str(node.get("id")): node for node in nodes}
    added: list[Json] = []
    for origin, origin_slot, target, slot in rows:
        sockets = by_id[target]["inputs"] if target in by_id else []
        if origin not in by_id or not 0 <= slot < len(sockets) or sockets[slot].get("link") is not None:
            continue
        id = f"everywhere:{len(added)}"
        sockets[slot]["link"] = id
        ends = {"origin_id": origin, "origin_slot": origin_slot, "target_id": target, "target_slot": slot}
        added.append({"id": id, **ends})
    return {**graph, "nodes": nodes, "links": [*as_list(graph.get("links")), *added]}


def _stored_links(rows: Any) -> Iterator[tuple[str, int, str, int]]:
    for row in map(as_mapping, rows):
        origin_slot, slot = row.get("upstream_slot"), row.get("downstream_slot")
        if isinstance(origin_slot, int) and isinstance(slot, int):
            yield str(row.get("upstream")), origin_slot, str(row.get("downstream")), slot


def _links_by_id(graph: Mapping[str, Any]) -> dict[str, tuple[str, int, str]]:
    """Return origin, slot and type of each link."""
    found = {}
    for link in as_list(graph.get("links")):
        if isinstance(link, dict):
            link = [
                link.get(key)
                for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
            ]
        if isinstance(link, list) and len(link) > 5 and isinstance(link[2], int):
            found[str(link[0])] = str(link[1]), link[2], str(link[5])
    return found


def _broadcast_links(
    nodes: list[Json], links: Mapping[str, tuple[str, int, str]]
) -> Iterator[tuple[str, int, str, int]]:
    """Yield the links of all broadcasting nodes; those that choose inputs by name come first."""
    senders = [node for node in nodes if str(node.get("type")) in BROADCAST_TYPES and _is_active(node)]
    for sender in sorted(senders, key=lambda node: node["type"] not in _SELECTIVE_TYPES):
        for number, socket in enumerate(sender["inputs"]):
            source = links.get(str(socket.get("link")))
            if source is not None:
                yield from _links_of_sender(nodes, source, _name_patterns(sender, number))


def _links_of_sender(
    nodes: list[Json], source: tuple[str, int, str], patterns: tuple[str, str]
) -> Iterator[tuple[str, int, str, int]]:
    """Yield the links from a source to all inputs that match the patterns of a sender."""
    origin, slot, type = source
    title, name = patterns
    for target, position in _open_inputs(nodes, origin, _origin_type(nodes, origin, slot, type)):
        if _matches(title, _title(target)) and _matches(name, target["inputs"][position].get("name")):
            yield origin, slot, str(target.get("id")), position


def _origin_type(nodes: list[Json], origin: str, slot: int, type: str) -> str:
    """Return the type of a link; that of the origin's output if the link has none of its own."""
    if type != _ANY:
        return type
    outputs = [as_list(node.get("outputs")) for node in nodes if str(node.get("id")) == origin]
    row = as_mapping(outputs[0][slot]) if outputs and 0 <= slot < len(outputs[0]) else {}
    return str(row.get("type") or _ANY)


def _open_inputs(nodes: list[Json], origin: str, type: str) -> Iterator[tuple[Json, int]]:
    """Yield the unlinked inputs of a type that must be linked, but not those of the origin itself."""
    for node in nodes:
        if (
            str(node.get("type")) in VIRTUAL_NODE_TYPES
            or not _is_active(node)
            or str(node.get("id")) == origin
        ):
            continue
        for position, socket in enumerate(node["inputs"]):
            if socket.get("link") is None and not socket.get("widget") and socket.get("type") == type:
                yield node, position


def _name_patterns(sender: Mapping[str, Any], number: int) -> tuple[str, str]:
    """Return the patterns for the titles of nodes and the names of inputs that a node sends to."""
    if sender["type"] == "Prompts Everywhere":
        return "", (_POSITIVE_PATTERN, _NEGATIVE_PATTERN)[min(number, 1)]
    if sender["type"] == "Anything Everywhere?":
        title, name, *_ = [*map(str, as_list(sender.get("widgets_values"))), "", ""]
        return title, name
    return "", ""


def _matches(pattern: str, text: object) -> bool:
    """Return whether a pattern of the file is found in a text; an invalid or long one matches nothing."""
    if not pattern or pattern == ".*":
        return True
    if pattern in (_POSITIVE_PATTERN, _NEGATIVE_PATTERN):
        return re.search(pattern, str(text)) is not None
    # The author's pattern is not run: one of a hostile file could take any time.
    words = [part.strip("^$.*()") for part in pattern[:_MAX_PATTERN_LENGTH].split("|")]
    return any(word and word.lower() in str(text).lower() for word in words)


def _title(node: Mapping[str, Any]) -> str:
    return str(node.get("title") or node.get("type"))


def _is_active(node: Mapping[str, Any]) -> bool:
    return node.get("mode") not in (NodeMode.MUTED, NodeMode.BYPASSED)

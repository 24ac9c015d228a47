"""Replace group nodes, the predecessors of subgraphs, by the nodes of their definitions.

A group node has the type `workflow>NAME` or `workflow/NAME`; `extra.groupNodes` defines its nodes. Its inputs
and outputs are those of the inner nodes that are not linked inside, in the order of the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, declared_inputs, output_types
from orchestrator.catalog.import_export.ui.ui_graph import MAX_NODES, InvalidWorkflow, as_list, as_mapping

_TYPE_PATTERN = re.compile(r"workflow[>/](.+)", re.DOTALL)
_MAX_NESTING = 16
_ALWAYS = 0

Json = dict[str, Any]


@dataclass(slots=True)
class _Group:
    """One group node, and what replaces it."""

    id: str
    nodes: list[Json]
    #: Links between the inner nodes.
    links: list[Json] = field(default_factory=list)
    #: Position and slot of inner outputs that are outputs of the group although they are linked inside.
    external: set[tuple[int, int]] = field(default_factory=set)

    def socket(self, index: int, name: str, type: str) -> int:
        """Return the position of an input of an inner node, which is added if the file does not have it."""
        inputs: list[Json] = self.nodes[index]["inputs"]
        for position, socket in enumerate(inputs):
            if socket.get("name") == name:
                return position
        inputs.append({"name": name, "type": type, "link": None, "widget": {"name": name}})
        return len(inputs) - 1


def expand_group_nodes(data: Mapping[str, Any], facts: NodeFacts) -> Mapping[str, Any]:
    """Return a workflow or subgraph definition without group nodes that `extra.groupNodes` defines.

    Definitions that no node uses are ignored. Raises InvalidWorkflow for groups that contain each other.
    """
    definitions = as_mapping(as_mapping(data.get("extra")).get("groupNodes"))
    if not definitions:
        return data
    expanded = _expand_graph(data, definitions, facts)
    subgraphs = as_list(as_mapping(data.get("definitions")).get("subgraphs"))
    if subgraphs:
        inner = [_expand_graph(as_mapping(graph), definitions, facts) for graph in subgraphs]
        expanded["definitions"] = {**as_mapping(data.get("definitions")), "subgraphs": inner}
    return expanded


def _expand_graph(graph: Mapping[str, Any], definitions: Mapping[str, Any], facts: NodeFacts) -> Json:
    result = dict(graph)
    for _ in range(_MAX_NESTING):
        nodes = [node for node in as_list(result.get("nodes")) if isinstance(node, dict)]
        found = {id(node): name for node in nodes if (name := _group_name(node)) in definitions}
        if not found:
            return result
        links = [_link_object(link) for link in as_list(result.get("links"))]
        kept: list[Json] = []
        for node in nodes:
            name = found.get(id(node))
            definition = as_mapping(definitions.get(name)) if name is not None else {}
            kept += [node] if name is None else _expand_node(node, definition, links, facts)
        if len(kept) > MAX_NODES:
            raise InvalidWorkflow(f"more than {MAX_NODES} nodes, including those in group nodes")
        result |= {"nodes": kept, "links": [link for link in links if link]}
    raise InvalidWorkflow(
        f"group nodes contain each other, or are nested more than {_MAX_NESTING} levels deep"
    )


def _group_name(node: Mapping[str, Any]) -> str | None:
    found = _TYPE_PATTERN.fullmatch(str(node.get("type")))
    return found[1] if found else None


def _link_object(link: Any) -> Json:
    """Return a link as an object; old files have lists."""
    if isinstance(link, dict):
        return dict(link)
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return dict(zip(keys, link, strict=False)) if isinstance(link, list) else {}


def _expand_node(
    node: Mapping[str, Any], definition: Mapping[str, Any], links: list[Json], facts: NodeFacts
) -> list[Json]:
    """Return the nodes of a group; its links in `links` are changed to them, and inner links are added."""
    rows = [dict(as_mapping(row)) for row in as_list(definition.get("nodes"))]
    group = _Group(str(node.get("id")), [])
    for index, row in enumerate(rows):
        sockets = [dict(as_mapping(socket)) | {"link": None} for socket in as_list(row.get("inputs"))]
        mode = row.get("mode", _ALWAYS) if node.get("mode", _ALWAYS) == _ALWAYS else node.get("mode")
        group.nodes.append(row | {"id": f"{group.id}:{index}", "inputs": sockets, "mode": mode})
    for row in as_list(definition.get("external")):
        if isinstance(row, list) and len(row) > 1 and all(isinstance(each, int) for each in row[:2]):
            group.external.add((row[0], row[1]))
    # Definitions have no link ids: a link is `[origin, slot, target, slot]`, with positions of nodes.
    internal = [_inner_link(link) for link in as_list(definition.get("links"))]
    internal = [link for link in internal if _is_inside(link, group.nodes)]
    linked = _add_inner_links(group, internal)
    _move_input_links(group, node, linked, links, facts)
    used = {(link["origin_id"], link["origin_slot"]) for link in internal}
    _move_output_links(group, used, links, facts)
    _assign_widget_values(group, node, linked, facts)
    links += group.links
    return group.nodes


def _inner_link(link: Any) -> Json:
    if isinstance(link, dict):
        return dict(link)
    keys = ("origin_id", "origin_slot", "target_id", "target_slot")
    return dict(zip(keys, link, strict=False)) if isinstance(link, list) else {}


def _is_inside(link: Mapping[str, Any], nodes: Sequence[Json]) -> bool:
    ends = [link.get(key) for key in ("origin_id", "origin_slot", "target_id", "target_slot")]
    whole = all(isinstance(end, int) and end >= 0 for end in ends)
    return whole and max(link["origin_id"], link["target_id"]) < len(nodes)


def _add_inner_links(group: _Group, internal: Sequence[Json]) -> set[tuple[int, str]]:
    """Link the inner nodes; return the linked inputs as node position and name."""
    linked = set()
    for number, link in enumerate(internal):
        target, slot = link["target_id"], link["target_slot"]
        sockets = group.nodes[target]["inputs"]
        if slot >= len(sockets):
            continue
        id = f"{group.id}:link:{number}"
        sockets[slot]["link"] = id
        linked.add((target, str(sockets[slot].get("name"))))
        ends = {"origin_id": f"{group.id}:{link['origin_id']}", "target_id": f"{group.id}:{target}"}
        group.links.append(link | ends | {"id": id})
    return linked


def _move_input_links(
    group: _Group,
    node: Mapping[str, Any],
    linked: set[tuple[int, str]],
    links: Sequence[Json],
    facts: NodeFacts,
) -> None:
    free = [place for place in _iter_inputs(group, facts) if place[:2] not in linked]
    start = 0
    for socket in map(as_mapping, as_list(node.get("inputs"))):
        found = _find_place(str(socket.get("name")), free, start)
        if found is None:
            continue
        start = found + 1
        index, name, type = free[found]
        link = next((link for link in links if link.get("id") == socket.get("link")), None)
        if socket.get("link") is not None and link is not None:
            position = group.socket(index, name, type)
            group.nodes[index]["inputs"][position]["link"] = socket["link"]
            link |= {"target_id": group.nodes[index]["id"], "target_slot": position}
            linked.add((index, name))


def _iter_inputs(group: _Group, facts: NodeFacts) -> Iterator[tuple[int, str, str]]:
    """Yield node position, name and type of all inputs of the inner nodes."""
    for index, node in enumerate(group.nodes):
        entry = facts.get(str(node.get("type")))
        declared = {item.name: item.type for item in declared_inputs(entry)} if entry else {}
        saved = {str(socket.get("name")): str(socket.get("type")) for socket in node["inputs"]}
        for name, type in {**declared, **saved}.items():
            yield index, name, type


def _find_place(name: str, places: Sequence[tuple[int, str, str]], start: int) -> int | None:
    """Return the inner input of a group's input, whose name may have a title before and a number after."""
    plain = re.sub(r" \d+$", "", name)
    for order in (range(start, len(places)), range(start)):
        for position in order:
            inner = places[position][1]
            if name == inner or name.endswith(f" {inner}") or plain == inner or plain.endswith(f" {inner}"):
                return position
    return None


def _move_output_links(
    group: _Group, used: set[tuple[int, int]], links: Sequence[Json], facts: NodeFacts
) -> None:
    """Change links that start at the group; `used` are the outputs that are linked inside."""
    places = [
        (index, slot)
        for index, inner in enumerate(group.nodes)
        for slot in range(_count_outputs(inner, facts))
        if (index, slot) not in used or (index, slot) in group.external
    ]
    for link in links:
        slot = link.get("origin_slot")
        if str(link.get("origin_id")) == group.id and isinstance(slot, int) and 0 <= slot < len(places):
            index, inner_slot = places[slot]
            link |= {"origin_id": group.nodes[index]["id"], "origin_slot": inner_slot}


def _count_outputs(node: Mapping[str, Any], facts: NodeFacts) -> int:
    saved = as_list(node.get("outputs"))
    return len(saved) or len(output_types(facts.get(str(node.get("type")), {})))


def _assign_widget_values(
    group: _Group, node: Mapping[str, Any], linked: set[tuple[int, str]], facts: NodeFacts
) -> None:
    """Distribute the values of the group node, which are those of the unlinked inner widgets in a row."""
    values = node.get("widgets_values")
    own = [as_list(inner.get("widgets_values")) for inner in group.nodes]
    if not isinstance(values, list) or not values:
        return
    kept = [_unlinked_positions(group, index, linked, facts) for index in range(len(group.nodes))]
    for positions in ([list(range(len(each))) for each in own], kept):
        if sum(map(len, positions)) == len(values):
            break
    else:
        return
    rest = iter(values)
    for inner, mine, chosen in zip(group.nodes, own, positions, strict=True):
        changed = list(mine)
        for position in chosen:
            changed[position] = next(rest)
        if changed:
            inner["widgets_values"] = changed


def _unlinked_positions(
    group: _Group, index: int, linked: set[tuple[int, str]], facts: NodeFacts
) -> list[int]:
    """Return the positions of the widget values of an inner node that no link replaces."""
    node = group.nodes[index]
    count = len(as_list(node.get("widgets_values")))
    entry = facts.get(str(node.get("type")))
    if entry is None:
        return list(range(count))
    positions: list[int] = []
    position = 0
    for item in declared_inputs(entry):
        if not item.is_widget:
            continue
        width = 2 if item.options.get("control_after_generate", item.name in ("seed", "noise_seed")) else 1
        if (index, item.name) not in linked:
            positions += range(position, position + width)
        position += width
    return [each for each in positions if each < count]

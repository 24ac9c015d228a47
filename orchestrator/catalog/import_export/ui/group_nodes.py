"""Replace group nodes, the predecessors of subgraphs, by the nodes of their definitions.

A group node has the type `workflow>NAME` or `workflow/NAME`; `extra.groupNodes` defines its nodes. Its inputs
and outputs are those of the inner nodes that are not linked inside, in the order of the nodes; the definition
may give an input another name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.checks.node_facts import SEED_INPUT_NAMES, NodeFacts, declared_inputs, output_types
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
    #: Position of an inner node -> the name of an input -> its name at the group.
    input_names: Mapping[int, Mapping[str, str]] = field(default_factory=dict)

    def shown_name(self, index: int, name: str) -> str:
        """Return the name at the group of an inner input; that of a reroute, which has none, is its type."""
        names = self.input_names.get(index, {})
        return names.get(name, name) if name else next(iter(names.values()), "")

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
    group.input_names = _read_input_names(definition, internal)
    internal = [link for link in internal if _is_inside(link, group.nodes)]
    linked = _add_inner_links(group, internal)
    inside = frozenset(linked)
    _move_input_links(group, node, linked, links, facts)
    used = {(link["origin_id"], link["origin_slot"]) for link in internal}
    _move_output_links(group, used, links, facts)
    _assign_widget_values(group, node, [inside, linked], facts)
    links += group.links
    return group.nodes


def _inner_link(link: Any) -> Json:
    if isinstance(link, dict):
        return dict(link)
    keys = ("origin_id", "origin_slot", "target_id", "target_slot", "outer_id", "type")
    return dict(zip(keys, link, strict=False)) if isinstance(link, list) else {}


def _read_input_names(
    definition: Mapping[str, Any], links: Sequence[Mapping[str, Any]]
) -> dict[int, dict[str, str]]:
    """Return the names that the inputs of inner nodes have at the group, and the types of reroutes."""
    found: dict[int, dict[str, str]] = {}
    for index, inner in as_mapping(definition.get("config")).items():
        inputs = as_mapping(as_mapping(inner).get("input"))
        names = {str(name): as_mapping(row).get("name") for name, row in inputs.items()}
        if str(index).isdecimal():
            found[int(index)] = {name: str(shown) for name, shown in names.items() if shown}
    for link in links:
        target, type = link.get("target_id"), link.get("type")
        if isinstance(target, int) and not found.get(target) and isinstance(type, str):
            found[target] = {"": type}
    return found


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
        shown = [group.shown_name(index, name) for index, name, _ in free]
        found = _find_place(str(socket.get("name")), shown, start)
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


def _find_place(name: str, places: Sequence[str], start: int) -> int | None:
    """Return the inner input of a group's input, whose name may have a title before and a number after."""
    plain = re.sub(r" \d+$", "", name)
    for order in (range(start, len(places)), range(start)):
        for position in order:
            inner = places[position]
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
    group: _Group, node: Mapping[str, Any], linked: Sequence[Set[tuple[int, str]]], facts: NodeFacts
) -> None:
    """Distribute the values of the group node: those of the inner widgets in a row.

    `linked` are the inputs that may have no value: those that are linked inside, or outside as well. Widgets
    that are inputs in the definition come last.
    """
    values = node.get("widgets_values")
    own = [as_list(inner.get("widgets_values")) for inner in group.nodes]
    if not isinstance(values, list) or not values:
        return
    orders = [_order_widgets(group, each, facts) for each in linked]
    orders.insert(1, [(index, position) for index, each in enumerate(own) for position in range(len(each))])
    fitting = [order for order in orders if len(order) == len(values)]
    if not fitting:
        return
    best = next((order for order in fitting if _has_same_kinds(order, own, values)), fitting[0])
    changed = [list(each) for each in own]
    for (index, position), value in zip(best, values, strict=True):
        changed[index][position] = value
    for inner, mine in zip(group.nodes, changed, strict=True):
        if mine:
            inner["widgets_values"] = mine


def _has_same_kinds(
    order: Sequence[tuple[int, int]], own: Sequence[Sequence[Any]], values: Sequence[Any]
) -> bool:
    """Return whether the values have the types of those in the definition; all numbers are of one type."""
    pairs = [(own[index][position], value) for (index, position), value in zip(order, values, strict=True)]
    return all(_kind(mine) is _kind(value) for mine, value in pairs if mine is not None and value is not None)


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def _order_widgets(group: _Group, linked: Set[tuple[int, str]], facts: NodeFacts) -> list[tuple[int, int]]:
    """Return node and position of the widget values that no link replaces, in the group's order."""
    first: list[tuple[int, int]] = []
    last: list[tuple[int, int]] = []
    for index, node in enumerate(group.nodes):
        count = len(as_list(node.get("widgets_values")))
        sockets = {str(socket.get("name")) for socket in node["inputs"] if socket.get("widget")}
        for name, positions in _widget_positions(facts.get(str(node.get("type"))), count):
            if (index, name) not in linked:
                (last if name in sockets else first).extend((index, each) for each in positions)
    return first + last


def _widget_positions(entry: Mapping[str, Any] | None, count: int) -> Iterator[tuple[str, range]]:
    """Yield each widget of a class with the positions of its `count` values; all at once without facts."""
    if entry is None:
        yield "", range(count)
        return
    start = 0
    for item in declared_inputs(entry):
        if item.is_widget:
            has_control = item.options.get("control_after_generate", item.name in SEED_INPUT_NAMES)
            end = start + (2 if has_control else 1)
            yield item.name, range(min(start, count), min(end, count))
            start = end

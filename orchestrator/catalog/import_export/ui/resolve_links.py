"""Resolve the source of an input of a UI graph through nodes that exist only in the UI.

Links are followed through reroutes, primitives, set/get pairs, bypassed and muted nodes and subgraph borders
to the executed node or the value behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.checks.node_facts import ANY_TYPE, types_overlap
from orchestrator.catalog.import_export.ui.ui_graph import (
    MAX_NODES,
    SUBGRAPH_INPUT,
    SUBGRAPH_OUTPUT,
    InvalidWorkflow,
    NodeMode,
    NodeSocket,
    UiGraph,
    UiNode,
    UiWorkflow,
)
from orchestrator.catalog.import_export.ui.virtual_nodes import (
    GETTER_TYPES,
    PASS_THROUGH_TYPES,
    SETTER_TYPES,
    VIRTUAL_NODE_TYPES,
)
from orchestrator.catalog.rendering.graph import Link

_MAX_DEPTH = 32
_MAX_HOPS = 200


@dataclass(frozen=True, slots=True)
class LiteralValue:
    """A source that is a value instead of a node."""

    value: Any


InputSource = Link | LiteralValue | None


@dataclass(frozen=True, slots=True, eq=False)
class GraphScope:
    """One instance of a graph: the root, or one use of a subgraph."""

    workflow: UiWorkflow
    graph: UiGraph
    #: Returns the values of a node's own widgets, by input name.
    read_widget_values: Callable[[UiNode], Mapping[str, Any]]
    #: Ids of the enclosing subgraph instances, outermost first.
    path: tuple[str, ...] = ()
    parent: GraphScope | None = None
    #: The node in `parent` whose content this is.
    subgraph_node: UiNode | None = None

    def api_id(self, node: UiNode) -> str:
        """Return the id of a node in the API format."""
        return ":".join((*self.path, node.id))

    def enter_subgraph(self, node: UiNode) -> GraphScope:
        """Return the scope inside an instance of a subgraph. Raises InvalidWorkflow if nested too deeply."""
        if len(self.path) >= _MAX_DEPTH:
            raise InvalidWorkflow(f"subgraphs are nested more than {_MAX_DEPTH} levels deep")
        definition = self.workflow.subgraphs[node.type]
        return GraphScope(
            self.workflow, definition, self.read_widget_values, (*self.path, node.id), self, node
        )

    def is_subgraph(self, node: UiNode) -> bool:
        return node.type in self.workflow.subgraphs


def iter_executed_nodes(
    scope: GraphScope, include_inactive: bool = False
) -> Iterator[tuple[GraphScope, UiNode]]:
    """Yield every node that a server executes, including those in subgraphs, with its scope.

    With `include_inactive` also muted and bypassed nodes.
    """
    for count, found in enumerate(_walk_nodes(scope, include_inactive)):
        if count >= MAX_NODES:
            raise InvalidWorkflow(f"more than {MAX_NODES} nodes, including those in subgraphs")
        yield found


def _walk_nodes(scope: GraphScope, include_inactive: bool) -> Iterator[tuple[GraphScope, UiNode]]:
    for node in scope.graph.nodes.values():
        if node.mode is not NodeMode.ALWAYS and not include_inactive:
            continue
        if scope.is_subgraph(node):
            yield from _walk_nodes(scope.enter_subgraph(node), include_inactive)
        elif node.type not in VIRTUAL_NODE_TYPES:
            yield scope, node


def resolve_source(scope: GraphScope, socket: NodeSocket) -> InputSource:
    """Return the source of an input; None if there is none. Raises InvalidWorkflow for cyclic links."""
    return _SourceResolver(socket.type).resolve_link(scope, socket)


class _SourceResolver:
    """Follows links upstream from a consumer of type `type`."""

    def __init__(self, type: str) -> None:
        self._type = type
        self._hops = 0
        #: The outputs on the way, with how messages call their nodes.
        self._passed: dict[tuple[str, int], str] = {}

    def resolve_link(self, scope: GraphScope, socket: NodeSocket) -> InputSource:
        link = scope.graph.links.get(socket.link or "")
        if link is None:
            return None
        self._hops += 1
        if self._hops > _MAX_HOPS:
            raise InvalidWorkflow(
                f"the link of input {socket.name!r} leads through more than {_MAX_HOPS} nodes that only pass"
                f" it on, up to node {[*self._passed.values()][-1]}; link it directly"
            )
        if link.origin == SUBGRAPH_INPUT and scope.parent is not None:
            return self._resolve_subgraph_input(scope, link.origin_slot)
        node = scope.graph.nodes.get(link.origin)
        return None if node is None else self._resolve_output(scope, node, link.origin_slot)

    def _resolve_output(self, scope: GraphScope, node: UiNode, slot: int) -> InputSource:
        self._check_acyclic(scope, node, slot)
        if node.mode is NodeMode.MUTED:
            return None
        if node.mode is NodeMode.BYPASSED:
            passed = self._find_bypass_input(node, slot)
            return None if passed is None else self.resolve_link(scope, passed)
        if scope.is_subgraph(node):
            return self._resolve_subgraph_output(scope.enter_subgraph(node), slot)
        if node.type in PASS_THROUGH_TYPES:
            return self.resolve_link(scope, node.inputs[0]) if node.inputs else None
        if node.type in GETTER_TYPES:
            return self._resolve_get_node(scope, node)
        if node.type == "PrimitiveNode":
            return (
                LiteralValue(node.widget_values[0])
                if isinstance(node.widget_values, list) and node.widget_values
                else None
            )
        return Link(scope.api_id(node), slot)

    def _check_acyclic(self, scope: GraphScope, node: UiNode, slot: int) -> None:
        """Raise InvalidWorkflow, naming the nodes, if a link leads back to an output on its way."""
        output, name = (scope.api_id(node), slot), f"{scope.api_id(node)} ({node.type})"
        if output in self._passed:
            way = [*self._passed]
            names = [self._passed[each] for each in way[way.index(output) :]]
            # From the source to the consumer, as the links are drawn.
            cycle = " -> ".join([name, *reversed(names)])
            raise InvalidWorkflow(
                f"the links of these nodes form a cycle without a source: {cycle}; delete one of the links"
            )
        self._passed[output] = name

    def _resolve_subgraph_input(self, scope: GraphScope, slot: int) -> InputSource:
        """Return the source of a subgraph's input in the enclosing scope."""
        instance, parent = scope.subgraph_node, scope.parent
        if instance is None or parent is None or not 0 <= slot < len(scope.graph.inputs):
            return None
        name = scope.graph.inputs[slot].name
        for socket in instance.inputs:
            if socket.name == name and socket.link is not None:
                return self.resolve_link(parent, socket)
        return subgraph_input_value(scope, slot)

    def _resolve_subgraph_output(self, scope: GraphScope, slot: int) -> InputSource:
        """Return the source of a subgraph's output inside of it."""
        for id, link in scope.graph.links.items():
            if link.target == SUBGRAPH_OUTPUT and link.target_slot == slot:
                return self.resolve_link(scope, NodeSocket("output", self._type, link=id))
        return None

    def _resolve_get_node(self, scope: GraphScope, getter: UiNode) -> InputSource:
        name = (
            getter.widget_values[0]
            if isinstance(getter.widget_values, list) and getter.widget_values
            else None
        )
        around: GraphScope | None = scope
        while around is not None:
            for node in around.graph.nodes.values():
                if (
                    node.type in SETTER_TYPES
                    and isinstance(node.widget_values, list)
                    and node.widget_values[:1] == [name]
                ):
                    return self._resolve_output(around, node, 0)
            around = around.parent
        return None

    def _find_bypass_input(self, node: UiNode, slot: int) -> NodeSocket | None:
        """Return the input that a bypassed node passes through to its output `slot`."""
        given = node.outputs[slot].type if slot < len(node.outputs) else ANY_TYPE
        same_slot = node.inputs[slot] if slot < len(node.inputs) else None
        if self._type == ANY_TYPE:
            return same_slot or (node.inputs[0] if node.inputs else None)
        if same_slot and _types_match(same_slot.type, given) and _types_match(same_slot.type, self._type):
            return same_slot
        exact = [socket for socket in node.inputs if socket.type == self._type]
        fitting = [socket for socket in node.inputs if _types_match(socket.type, self._type)]
        return next(iter(exact + fitting), None)


def subgraph_input_value(scope: GraphScope, slot: int) -> LiteralValue | None:
    """Return the widget value of a subgraph's input `slot`: that of the instance, else that inside."""
    targets = list(_widget_targets(scope.graph, slot))
    values = scope.subgraph_node.widget_values if scope.subgraph_node else None
    position = _widget_value_index(scope, slot) if targets else None
    given = values[position : position + 1] if isinstance(values, list) and position is not None else []
    name = scope.graph.inputs[slot].name if 0 <= slot < len(scope.graph.inputs) else ""
    if targets and name in (outer := _values_from_outside(scope)):
        given = [outer[name]]
    if given and given[0] is not None:
        return LiteralValue(given[0])
    for node, name in targets:
        inner = {**scope.read_widget_values(node), **proxy_widget_values(scope, node)}
        if name in inner:
            return LiteralValue(inner[name])
    return None


def _widget_value_index(scope: GraphScope, slot: int) -> int | None:
    """Return the index of the input `slot` in the instance's widget values."""
    proxies = scope.subgraph_node.properties.get("proxyWidgets") if scope.subgraph_node else None
    if not isinstance(proxies, list) or not proxies:
        return sum(any(True for _ in _widget_targets(scope.graph, earlier)) for earlier in range(slot))
    wanted = ["-1", scope.graph.inputs[slot].name]
    places = (index for index, item in enumerate(proxies) if isinstance(item, list) and item[:2] == wanted)
    return next(places, None)


def _widget_targets(graph: UiGraph, slot: int) -> Iterator[tuple[UiNode, str]]:
    """Yield the nodes and widgets inside a subgraph that one of its inputs is linked to."""
    for link in graph.links.values():
        if link.origin != SUBGRAPH_INPUT or link.origin_slot != slot:
            continue
        node = graph.nodes.get(link.target)
        if node is not None and 0 <= link.target_slot < len(node.inputs):
            widget = node.inputs[link.target_slot].widget
            if widget is not None:
                yield node, widget


def proxy_widget_values(scope: GraphScope, node: UiNode) -> dict[str, Any]:
    """Return the widget values that the enclosing instances set on `node` by the older `proxyWidgets`."""
    instance = scope.subgraph_node
    proxies = instance.properties.get("proxyWidgets") if instance else None
    if instance is None or not isinstance(proxies, list):
        return {}
    own = instance.widget_values if isinstance(instance.widget_values, list) else []
    outer = _values_from_outside(scope)
    found: dict[str, Any] = {}
    for proxy, value in zip(proxies, [*own, *[None] * len(proxies)], strict=False):
        if isinstance(proxy, list) and len(proxy) > 1 and str(proxy[0]) == node.id:
            name = str(proxy[1])
            set_value = outer.get(name, value)
            if set_value is not None:
                found[name.removeprefix(f"{node.id}: ")] = set_value
    return found


def _values_from_outside(scope: GraphScope) -> dict[str, Any]:
    """Return the values that an instance of a subgraph around this one sets on the widgets of this one."""
    if scope.parent is None or scope.subgraph_node is None:
        return {}
    return proxy_widget_values(scope.parent, scope.subgraph_node)


def _types_match(one: str, other: str) -> bool:
    """Compare as the frontend does, ignoring case."""
    return types_overlap(one.upper(), other.upper())

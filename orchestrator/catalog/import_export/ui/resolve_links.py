"""Where an input of a UI graph really comes from, through everything that exists only on screen.

Reroutes, primitives, set/get pairs, bypassed and muted nodes and subgraph borders are followed to the
node, or the value, behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.checks.node_facts import ANY
from orchestrator.catalog.import_export.ui.ui_graph import (
    MAX_NODES,
    SUBGRAPH_INPUT,
    SUBGRAPH_OUTPUT,
    BadWorkflow,
    Mode,
    Socket,
    UiGraph,
    UiNode,
    Workflow,
)
from orchestrator.catalog.rendering.graph import Link

VIRTUAL = frozenset({"Note", "MarkdownNote", "Reroute", "PrimitiveNode", "SetNode", "GetNode"})
_MAX_DEPTH = 32
_MAX_HOPS = 200


@dataclass(frozen=True, slots=True)
class Value:
    """A source that is no node but a value."""

    value: Any


Source = Link | Value | None


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """One instance of a graph: the root, or a subgraph where it is used."""

    workflow: Workflow
    graph: UiGraph
    #: The values of a node's own widgets, by input name.
    widgets: Callable[[UiNode], Mapping[str, Any]]
    #: Ids of the instances around it, outermost first.
    path: tuple[str, ...] = ()
    parent: Scope | None = None
    #: The node in `parent` that this is the inside of.
    instance: UiNode | None = None

    def api_id(self, node: UiNode) -> str:
        return ":".join((*self.path, node.id))

    def inside(self, node: UiNode) -> Scope:
        """The scope behind an instance of a subgraph. Raises BadWorkflow when they never end."""
        if len(self.path) >= _MAX_DEPTH:
            raise BadWorkflow("subgraphs contain one another without end")
        definition = self.workflow.subgraphs[node.type]
        return Scope(self.workflow, definition, self.widgets, (*self.path, node.id), self, node)

    def is_subgraph(self, node: UiNode) -> bool:
        return node.type in self.workflow.subgraphs


def executed(scope: Scope, absent_too: bool = False) -> Iterator[tuple[Scope, UiNode]]:
    """Every node that a server will see, subgraphs unfolded, each with its scope.

    With `absent_too` also those that are muted or bypassed.
    """
    for count, found in enumerate(_executed(scope, absent_too)):
        if count >= MAX_NODES:
            raise BadWorkflow(f"more than {MAX_NODES} nodes once subgraphs are unfolded")
        yield found


def _executed(scope: Scope, absent_too: bool) -> Iterator[tuple[Scope, UiNode]]:
    for node in scope.graph.nodes.values():
        if node.mode is not Mode.ALWAYS and not absent_too:
            continue
        if scope.is_subgraph(node):
            yield from _executed(scope.inside(node), absent_too)
        elif node.type not in VIRTUAL:
            yield scope, node


def source_of(scope: Scope, socket: Socket) -> Source:
    """What feeds an input; None where nothing does. Raises BadWorkflow for links in a circle."""
    return _Trace(socket.type).follow(scope, socket)


class _Trace:
    """One walk upstream from a consumer of type `type`."""

    def __init__(self, type: str) -> None:
        self._type = type
        self._hops = 0

    def follow(self, scope: Scope, socket: Socket) -> Source:
        link = scope.graph.links.get(socket.link or "")
        if link is None:
            return None
        self._hops += 1
        if self._hops > _MAX_HOPS:
            raise BadWorkflow(f"the source of {socket.name} is never reached")
        if link.origin == SUBGRAPH_INPUT and scope.parent is not None:
            return self._outside(scope, link.origin_slot)
        node = scope.graph.nodes.get(link.origin)
        return None if node is None else self._output(scope, node, link.origin_slot)

    def _output(self, scope: Scope, node: UiNode, slot: int) -> Source:
        if node.mode is Mode.MUTED:
            return None
        if node.mode is Mode.BYPASSED:
            passed = self._passed_through(node, slot)
            return None if passed is None else self.follow(scope, passed)
        if scope.is_subgraph(node):
            return self._inside(scope.inside(node), slot)
        if node.type in ("Reroute", "SetNode"):
            return self.follow(scope, node.inputs[0]) if node.inputs else None
        if node.type == "GetNode":
            return self._from_setter(scope, node)
        if node.type == "PrimitiveNode":
            return Value(node.values[0]) if isinstance(node.values, list) and node.values else None
        return Link(scope.api_id(node), slot)

    def _outside(self, scope: Scope, slot: int) -> Source:
        """What the instance around a subgraph is given for one of its inputs."""
        instance, parent = scope.instance, scope.parent
        if instance is None or parent is None or not 0 <= slot < len(scope.graph.inputs):
            return None
        name = scope.graph.inputs[slot].name
        for socket in instance.inputs:
            if socket.name == name and socket.link is not None:
                return self.follow(parent, socket)
        return promoted_value(scope, slot)

    def _inside(self, scope: Scope, slot: int) -> Source:
        """What a subgraph gives for one of its outputs."""
        for id, link in scope.graph.links.items():
            if link.target == SUBGRAPH_OUTPUT and link.target_slot == slot:
                return self.follow(scope, Socket("output", self._type, link=id))
        return None

    def _from_setter(self, scope: Scope, getter: UiNode) -> Source:
        name = getter.values[0] if isinstance(getter.values, list) and getter.values else None
        around: Scope | None = scope
        while around is not None:
            for node in around.graph.nodes.values():
                if node.type == "SetNode" and isinstance(node.values, list) and node.values[:1] == [name]:
                    return self._output(around, node, 0)
            around = around.parent
        return None

    def _passed_through(self, node: UiNode, slot: int) -> Socket | None:
        """The input that a bypassed node hands on as its output `slot`."""
        given = node.outputs[slot].type if slot < len(node.outputs) else ANY
        same_slot = node.inputs[slot] if slot < len(node.inputs) else None
        if self._type == ANY:
            return same_slot or (node.inputs[0] if node.inputs else None)
        if same_slot and _fits(same_slot.type, given) and _fits(same_slot.type, self._type):
            return same_slot
        exact = [socket for socket in node.inputs if socket.type == self._type]
        fitting = [socket for socket in node.inputs if _fits(socket.type, self._type)]
        return next(iter(exact + fitting), None)


def promoted_value(scope: Scope, slot: int) -> Value | None:
    """What the widget for the subgraph's input `slot` says: on the instance, else inside."""
    targets = list(_widget_targets(scope.graph, slot))
    values = scope.instance.values if scope.instance else None
    position = _position(scope, slot) if targets else None
    given = values[position : position + 1] if isinstance(values, list) and position is not None else []
    if given and given[0] is not None:
        return Value(given[0])
    for node, name in targets:
        inner = {**scope.widgets(node), **promoted_values(scope, node)}
        if name in inner:
            return Value(inner[name])
    return None


def _position(scope: Scope, slot: int) -> int | None:
    """Where among the instance's values that of the input `slot` stands."""
    proxies = scope.instance.properties.get("proxyWidgets") if scope.instance else None
    if not isinstance(proxies, list) or not proxies:
        return sum(any(True for _ in _widget_targets(scope.graph, earlier)) for earlier in range(slot))
    wanted = ["-1", scope.graph.inputs[slot].name]
    places = (index for index, item in enumerate(proxies) if isinstance(item, list) and item[:2] == wanted)
    return next(places, None)


def _widget_targets(graph: UiGraph, slot: int) -> Iterator[tuple[UiNode, str]]:
    """Nodes inside, and their widgets, in which a subgraph's input ends."""
    for link in graph.links.values():
        if link.origin != SUBGRAPH_INPUT or link.origin_slot != slot:
            continue
        node = graph.nodes.get(link.target)
        if node is not None and 0 <= link.target_slot < len(node.inputs):
            widget = node.inputs[link.target_slot].widget
            if widget is not None:
                yield node, widget


def promoted_values(scope: Scope, node: UiNode) -> dict[str, Any]:
    """Values that the instance around `node` gives its widgets directly, in the older way."""
    instance = scope.instance
    proxies = instance.properties.get("proxyWidgets") if instance else None
    if instance is None or not isinstance(proxies, list) or not isinstance(instance.values, list):
        return {}
    pairs = zip(proxies, instance.values, strict=False)
    return {
        str(proxy[1]).removeprefix(f"{node.id}: "): value
        for proxy, value in pairs
        if isinstance(proxy, list) and len(proxy) > 1 and str(proxy[0]) == node.id and value is not None
    }


def _fits(one: str, other: str) -> bool:
    ones, others = set(one.upper().split(",")), set(other.upper().split(","))
    return ANY in ones | others or bool(ones & others)

"""Render a graph: evaluate its expressions, and expand conditional and repeated nodes.

Three keys in a node's `_meta` control which nodes the rendered graph has:

`when`    the node is omitted if the expression is false;
`each`    the node is repeated for each element of a list, as `NODE.0`, `NODE.1`, ...; its expressions
          can use `item` and `index`; nodes with the same `each` are repeated together;
`bypass`  `{"0": "model"}`: if the node is omitted, links to its output 0 are replaced by links to the
          source of its input `model`; `{"0": ["zeroed", 0]}` names another output. With `each`, the
          copies are chained through these inputs.

An input that is linked to an omitted node without a bypass for the slot is removed.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.rendering.expressions import (
    CompiledExpression,
    ExpressionError,
    RenderContext,
    compile_expression,
    compile_template,
    expression_names,
)
from orchestrator.catalog.rendering.expressions import is_template as _is_template
from orchestrator.catalog.rendering.graph import ApiGraph, GraphNode, Link, parse_link


@dataclass(frozen=True, slots=True)
class _CompiledNode:
    """A node with its expressions compiled."""

    id: str
    class_type: str
    title: str
    #: Literals, links as Link, expressions as functions; lists and objects of these.
    inputs: Mapping[str, Any]
    when: CompiledExpression | None
    each: CompiledExpression | None
    #: Text of `each`; nodes with the same text are repeated together.
    repeat_group: str | None
    bypass: Mapping[int, str | Link]
    #: Variables on whose values it depends: those of its expressions and, if it may be omitted or repeated or
    #: is linked to such a node, those of all `when` and `each` of the graph.
    names: frozenset[str]


@dataclass(slots=True)
class LastRendered:
    """Nodes of the last rendering: the next one shares those whose expressions have the same values.

    For graphs that are only read and differ in little.
    """

    context: RenderContext | None = None
    graph: ApiGraph = field(default_factory=dict)
    #: Copies of each node of the graph.
    items_by_node: Mapping[str, list[Any]] = field(default_factory=dict)

    def changed_names(self, context: RenderContext) -> set[str]:
        """Return the variables whose values differ from those of the last rendering."""
        last = self.context or {}
        return {name for name in last.keys() | context.keys() if not _is_same(last, context, name)}


def _is_same(one: RenderContext, other: RenderContext, name: str) -> bool:
    if name not in one or name not in other:
        return False
    return type(one[name]) is type(other[name]) and bool(one[name] == other[name])


class CompiledGraph:
    """A graph with all its expressions compiled."""

    def __init__(self, nodes: Mapping[str, GraphNode], names: frozenset[str], file: Path) -> None:
        """Compile a graph; `names` are the variables that expressions may use. Raises CatalogError."""
        self._file = file
        #: The nodes that it was compiled from.
        self.nodes = nodes
        #: Variables that expressions of the graph use.
        self.used_names: frozenset[str] = frozenset()
        #: Nodes that may be omitted or repeated, and the variables that say so.
        self._shaped = {id for id, node in nodes.items() if _shape_texts(node)}
        self._shaping = self._find_shaping_names(nodes, names)
        self._nodes = {id: self._compile_node(id, node, names) for id, node in nodes.items()}
        #: The nodes that depend on each variable.
        self._nodes_by_name = _group_by_name(self._nodes)

    def render(self, context: RenderContext, last: LastRendered | None = None) -> ApiGraph:
        """Return the graph for one set of values. Raises CatalogError if an expression fails.

        With `last`, the graph shares nodes with the last one that was rendered with it.
        """
        renderer = _GraphRenderer(self._nodes, context, self._file)
        if last is None:
            return renderer.render()
        if last.context is None:
            last.graph = renderer.render()
        else:
            names = last.changed_names(context)
            changed = {id for name in names for id in self._nodes_by_name.get(name, ())}
            if self._shaping.isdisjoint(names):
                last.graph = renderer.render_again(last, changed)
            else:
                last.graph = renderer.render(last, self._nodes.keys() - changed)
        last.context, last.items_by_node = context, renderer.items_by_node
        return last.graph

    def _find_shaping_names(self, nodes: Mapping[str, GraphNode], names: frozenset[str]) -> frozenset[str]:
        found: frozenset[str] = frozenset()
        for id, node in nodes.items():
            for meta_key, text in (("when", node.meta.when), ("each", node.meta.each)):
                if text is not None:
                    self._compile_meta_expression(text, names, id, meta_key)
                    found |= expression_names(text)
        return found

    def _compile_node(self, id: str, node: GraphNode, names: frozenset[str]) -> _CompiledNode:
        meta = node.meta
        inner = names | {"item", "index"} if meta.each is not None else names
        used: set[str] = set()
        inputs = {
            name: self._compile_value(value, inner, used, f"node {id}, input {name}")
            for name, value in node.inputs.items()
        }
        self.used_names |= used
        own = frozenset(used)
        sources = (value.node for value in inputs.values() if isinstance(value, Link))
        is_shaped = id in self._shaped or any(source in self._shaped for source in sources)
        return _CompiledNode(
            id=id,
            class_type=node.class_type,
            title=meta.title or id,
            inputs=inputs,
            when=self._compile_meta_expression(meta.when, names, id, "when"),
            each=self._compile_meta_expression(meta.each, names, id, "each"),
            repeat_group=meta.each,
            bypass={int(slot): parse_link(name) or name for slot, name in meta.bypass.items()},
            names=own | self._shaping if is_shaped else own,
        )

    def _compile_meta_expression(
        self, text: str | None, names: frozenset[str], id: str, meta_key: str
    ) -> CompiledExpression | None:
        if text is None:
            return None
        try:
            self.used_names |= expression_names(text)
            return compile_expression(text, names)
        except ExpressionError as error:
            raise CatalogError(str(error), file=self._file, where=f"node {id}, {meta_key}") from error

    def _compile_value(self, value: Any, names: frozenset[str], used: set[str], location: str) -> Any:
        """Return a value with its expressions compiled; add the variables that they use to `used`."""
        link = parse_link(value)
        if link is not None:
            return link
        if isinstance(value, list):
            return [self._compile_value(item, names, used, location) for item in value]
        if isinstance(value, dict):
            return {key: self._compile_value(item, names, used, location) for key, item in value.items()}
        if not isinstance(value, str) or not _is_template(value):
            return value
        try:
            used |= expression_names(value)
            return compile_template(value, names)
        except ExpressionError as error:
            raise CatalogError(str(error), file=self._file, where=location) from error


def compile_graph(
    nodes: Mapping[str, GraphNode], names: frozenset[str], file: Path, known: CompiledGraph | None
) -> CompiledGraph:
    """Return the compiled graph; that of a `known` one with the same nodes if `names` allow it."""
    if known is None or not known.used_names <= names | {"item", "index"}:
        return CompiledGraph(nodes, names, file)
    same = copy.copy(known)
    same._file = file
    return same


@dataclass(slots=True)
class _GraphRenderer:
    """Renders a graph once."""

    nodes: Mapping[str, _CompiledNode]
    context: RenderContext
    file: Path
    #: One element per copy of a node; [None] for a node that is not repeated, [] for an omitted one.
    items_by_node: Mapping[str, list[Any]] = field(default_factory=dict)

    def render(self, last: LastRendered | None = None, same: Set[str] = frozenset()) -> ApiGraph:
        """Render all nodes but those that are the `same` as in the last graph."""
        before = last.graph if last is not None else {}
        self.items_by_node = {id: self._repeat_items(node) for id, node in self.nodes.items()}
        return {
            copied: before[copied] if id in same else self._render_node(node, index)
            for id, node in self.nodes.items()
            for index, copied in self._copies(node)
        }

    def render_again(self, last: LastRendered, changed: Collection[str]) -> ApiGraph:
        """Render the `changed` nodes of a graph that has the same nodes as the last one."""
        self.items_by_node = last.items_by_node
        graph = dict(last.graph)
        for id in changed:
            for index, copied in self._copies(self.nodes[id]):
                graph[copied] = self._render_node(self.nodes[id], index)
        return graph

    def _copies(self, node: _CompiledNode) -> Iterator[tuple[int, str]]:
        """Yield the number and the id of each copy of a node."""
        for index in range(len(self.items_by_node[node.id])):
            yield index, _copy_id(node, index)

    def _repeat_items(self, node: _CompiledNode) -> list[Any]:
        if node.when is not None and not self._evaluate(node.when, self.context, f"node {node.id}, when"):
            return []
        if node.each is None:
            return [None]
        items = self._evaluate(node.each, self.context, f"node {node.id}, each")
        if not isinstance(items, list):
            raise CatalogError(
                f"must be a list (got {type(items).__name__})", file=self.file, where=f"node {node.id}, each"
            )
        return items

    def _render_node(self, node: _CompiledNode, index: int) -> dict[str, Any]:
        context = self.context
        if node.each is not None:
            context = {**context, "item": self.items_by_node[node.id][index], "index": index}
        inputs = {}
        for name, value in node.inputs.items():
            if isinstance(value, Link):
                link = self._resolve_input(node, name, index)
                if link is not None:
                    inputs[name] = list(link)
            else:
                inputs[name] = self._render_value(value, context, f"node {node.id}, input {name}")
        return {"class_type": node.class_type, "inputs": inputs, "_meta": {"title": node.title}}

    def _resolve_input(self, node: _CompiledNode, name: str, index: int) -> Link | None:
        """Return the source of the linked input `name` of a copy; None if the input is removed."""
        if index > 0:
            for slot, bypassed in node.bypass.items():
                if bypassed == name:
                    return Link(_copy_id(node, index - 1), slot)
        return self._resolve_link(node, node.inputs[name], index)

    def _resolve_link(self, node: _CompiledNode, link: Link, index: int) -> Link | None:
        """Return the rendered output that a link of a copy of `node` leads to."""
        target = self.nodes[link.node]
        if node.repeat_group is not None and target.repeat_group == node.repeat_group:
            return self._resolve_output(target, link.slot, index)
        return self._resolve_output(target, link.slot, len(self.items_by_node[target.id]) - 1)

    def _resolve_output(self, node: _CompiledNode, slot: int, index: int) -> Link | None:
        """Return the output of a copy, or its bypass if the node is omitted."""
        if 0 <= index < len(self.items_by_node[node.id]):
            return Link(_copy_id(node, index), slot)
        stand_in = node.bypass.get(slot)
        if isinstance(stand_in, str):
            return self._resolve_input(node, stand_in, 0)
        return None if stand_in is None else self._resolve_link(node, stand_in, 0)

    def _render_value(self, value: Any, context: RenderContext, location: str) -> Any:
        if isinstance(value, list):
            return [self._render_value(item, context, location) for item in value]
        if isinstance(value, dict):
            return {key: self._render_value(item, context, location) for key, item in value.items()}
        return self._evaluate(value, context, location) if callable(value) else value

    def _evaluate(self, expression: CompiledExpression, context: RenderContext, location: str) -> Any:
        try:
            return expression(context)
        except ExpressionError as error:
            raise CatalogError(str(error), file=self.file, where=location) from error


def _shape_texts(node: GraphNode) -> list[str]:
    """Return the expressions that say whether and how often a node is in the graph."""
    return [text for text in (node.meta.when, node.meta.each) if text]


def _group_by_name(nodes: Mapping[str, _CompiledNode]) -> dict[str, list[str]]:
    """Return the nodes that depend on each variable."""
    found: dict[str, list[str]] = {}
    for id, node in nodes.items():
        for name in node.names:
            found.setdefault(name, []).append(id)
    return found


def _copy_id(node: _CompiledNode, index: int) -> str:
    return node.id if node.each is None else f"{node.id}.{index}"

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

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
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
from orchestrator.catalog.rendering.graph import ApiGraph, GraphNode, Link, iter_links, parse_link


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
        #: Variables that expressions of the graph use.
        self.used_names: frozenset[str] = frozenset()
        compiled = {id: self._compile_node(id, node, names) for id, node in nodes.items()}
        self._nodes = _with_names(compiled, nodes)

    def render(self, context: RenderContext, last: LastRendered | None = None) -> ApiGraph:
        """Return the graph for one set of values. Raises CatalogError if an expression fails.

        With `last`, the graph shares nodes with the last one that was rendered with it.
        """
        if last is None:
            return _GraphRenderer(self._nodes, context, self._file).render()
        changed = last.changed_names(context)
        same = {id for id, node in self._nodes.items() if last.graph and changed.isdisjoint(node.names)}
        last.graph = _GraphRenderer(self._nodes, context, self._file, same, last.graph).render()
        last.context = context
        return last.graph

    def _compile_node(self, id: str, node: GraphNode, names: frozenset[str]) -> _CompiledNode:
        meta = node.meta
        inner = names | {"item", "index"} if meta.each is not None else names
        return _CompiledNode(
            id=id,
            class_type=node.class_type,
            title=meta.title or id,
            inputs={name: self._compile_value(value, inner, id, name) for name, value in node.inputs.items()},
            when=self._compile_meta_expression(meta.when, names, id, "when"),
            each=self._compile_meta_expression(meta.each, names, id, "each"),
            repeat_group=meta.each,
            bypass={int(slot): parse_link(name) or name for slot, name in meta.bypass.items()},
            names=frozenset(),
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

    def _compile_value(self, value: Any, names: frozenset[str], id: str, name: str) -> Any:
        link = parse_link(value)
        if link is not None:
            return link
        if isinstance(value, list):
            return [self._compile_value(item, names, id, name) for item in value]
        if isinstance(value, dict):
            return {key: self._compile_value(item, names, id, name) for key, item in value.items()}
        if not isinstance(value, str) or not _is_template(value):
            return value
        try:
            self.used_names |= expression_names(value)
            return compile_template(value, names)
        except ExpressionError as error:
            raise CatalogError(str(error), file=self._file, where=f"node {id}, input {name}") from error


@dataclass(slots=True)
class _GraphRenderer:
    """Renders a graph once."""

    nodes: Mapping[str, _CompiledNode]
    context: RenderContext
    file: Path
    #: Nodes that are the same as in the graph that was rendered `before`.
    same: Set[str] = frozenset()
    before: ApiGraph = field(default_factory=dict)
    #: One element per copy of a node; [None] for a node that is not repeated, [] for an omitted one.
    items_by_node: dict[str, list[Any]] = field(default_factory=dict)

    def render(self) -> ApiGraph:
        self.items_by_node = {id: self._repeat_items(node) for id, node in self.nodes.items()}
        graph: ApiGraph = {}
        for id, node in self.nodes.items():
            for index in range(len(self.items_by_node[id])):
                copy = _copy_id(node, index)
                graph[copy] = self.before[copy] if id in self.same else self._render_node(node, index)
        return graph

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


def _with_names(
    compiled: Mapping[str, _CompiledNode], nodes: Mapping[str, GraphNode]
) -> dict[str, _CompiledNode]:
    """Return nodes that know on which variables they depend. Raises ExpressionError."""
    metas = {id: [text for text in (node.meta.when, node.meta.each) if text] for id, node in nodes.items()}
    shaping = _find_names([*metas.values()])
    result = {}
    for id, node in nodes.items():
        near = (id, *(link.node for _, link in iter_links(node.inputs)))
        names = _find_names([*node.inputs.values()])
        result[id] = replace(
            compiled[id], names=names | shaping if any(metas[each] for each in near) else names
        )
    return result


def _find_names(value: Any) -> frozenset[str]:
    """Return the variables of all expressions in a value. Raises ExpressionError."""
    if isinstance(value, list | dict):
        inner = value.values() if isinstance(value, dict) else value
        return frozenset[str]().union(*map(_find_names, inner))
    return expression_names(value) if isinstance(value, str) and _is_template(value) else frozenset()


def _copy_id(node: _CompiledNode, index: int) -> str:
    return node.id if node.each is None else f"{node.id}.{index}"

"""Proof, without any instance, that a graph will pass ComfyUI's own validation."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.checks.node_facts import (
    ANY_TYPE,
    WIDGET_TYPES,
    NodeFacts,
    NodeInput,
    output_types,
    resolve_inputs,
)
from orchestrator.catalog.rendering.graph import Link, find_cycle, iter_links, parse_link

Graph = Mapping[str, Mapping[str, Any]]

# The author of a graph writes this node's options, and its class checks none.
_FREE_OPTION_CLASSES = frozenset({"CustomCombo"})

# A misspelt optional input does no harm that a server would complain of; it just does nothing.
_WARNING_CODES = frozenset({"unknown_input"})


@dataclass(frozen=True, slots=True)
class GraphProblem:
    """One thing that is wrong with a graph."""

    #: ComfyUI's own word where it has one: `missing_node_type`, `required_input_missing`,
    #: `return_type_mismatch`, `invalid_input_type`, `value_bigger_than_max`,
    #: `value_smaller_than_min`, `value_not_in_list`, `dependency_cycle`, `prompt_no_outputs`.
    code: str
    message: str
    #: Empty where the graph as a whole is meant.
    node: str = ""
    input: str = ""

    @property
    def is_warning(self) -> bool:
        """Whether a server would run the graph all the same."""
        return self.code in _WARNING_CODES

    def __str__(self) -> str:
        place = f"node {self.node}" if self.node else "graph"
        return f"{place}{f', input {self.input}' if self.input else ''}: {self.message} ({self.code})"


def validate_graph(graph: Graph, facts: NodeFacts, known_files: Container[str] = ()) -> list[GraphProblem]:
    """All problems of an API-format graph, in the order of its nodes.

    `files` are names that any option list may be taken to hold: weights and uploads that the recorded
    facts know nothing of.
    """
    outputs = [id for id, node in graph.items() if _node_facts(node, facts).get("output_node")]
    needed = find_upstream_nodes(graph, outputs)
    problems = []
    for id, node in graph.items():
        if not _node_facts(node, facts):
            message = f"there is no node class {node.get('class_type')!r}"
            problems.append(GraphProblem("missing_node_type", message, id))
        elif id in needed:
            problems.extend(_validate_node(id, graph, facts, known_files))
    if not outputs:
        problems.append(GraphProblem("prompt_no_outputs", "no node of the graph is an output node"))
    return [*problems, *_validate_acyclic(graph)]


def find_upstream_nodes(graph: Graph, outputs: Iterable[str]) -> set[str]:
    """The nodes that the `outputs` need, themselves included: a server looks at no others."""
    found: set[str] = set()
    waiting = [id for id in outputs if id in graph]
    while waiting:
        id = waiting.pop()
        if id not in found:
            found.add(id)
            inputs = graph[id].get("inputs") or {}
            waiting.extend(link.node for _, link in iter_links(inputs) if link.node in graph)
    return found


def _node_facts(node: Mapping[str, Any], facts: NodeFacts) -> Mapping[str, Any]:
    class_type = node.get("class_type")
    return facts.get(class_type, {}) if isinstance(class_type, str) else {}


def _validate_node(
    id: str, graph: Graph, facts: NodeFacts, known_files: Container[str]
) -> Iterator[GraphProblem]:
    node = graph[id]
    entry = _node_facts(node, facts)
    given = node.get("inputs") or {}
    known = resolve_inputs(entry, given)
    for name, item in known.items():
        if name not in given:
            if item.required and item.type != "COMFY_AUTOGROW_V3":
                yield GraphProblem("required_input_missing", f"{item.type} is missing", id, name)
            continue
        link = parse_link(given[name])
        if link is not None:
            yield from _validate_link(id, item, link, graph, facts)
        elif node["class_type"] not in _FREE_OPTION_CLASSES:
            yield from _validate_value(id, item, given[name], known_files)
    for name in given.keys() - known.keys():
        yield GraphProblem("unknown_input", f"{node['class_type']} has no such input", id, name)


def _validate_link(
    id: str, item: NodeInput, link: Link, graph: Graph, facts: NodeFacts
) -> Iterator[GraphProblem]:
    source = graph.get(link.node)
    if source is None:
        yield GraphProblem("linked_node_missing", f"there is no node {link.node}", id, item.name)
        return
    entry = _node_facts(source, facts)
    if not entry:
        return  # told once, of that node
    types = output_types(entry)
    if link.slot >= len(types):
        message = f"{source['class_type']} has {len(types)} outputs, not {link.slot + 1}"
        yield GraphProblem("linked_slot_missing", message, id, item.name)
    elif not item.accepts_type(types[link.slot]):
        message = f"takes {item.type}, not {types[link.slot]} of node {link.node}"
        yield GraphProblem("return_type_mismatch", message, id, item.name)


def _validate_value(
    id: str, item: NodeInput, value: Any, known_files: Container[str]
) -> Iterator[GraphProblem]:
    if item.choices is not None:
        yield from _validate_choice(id, item, value, known_files)
    elif item.type in ("INT", "FLOAT"):
        yield from _validate_number(id, item, value)
    elif not WIDGET_TYPES & set(item.type.split(",")) and item.type != ANY_TYPE:
        yield GraphProblem("invalid_input_type", f"{item.type} must come through a link", id, item.name)


def _validate_choice(
    id: str, item: NodeInput, value: Any, known_files: Container[str]
) -> Iterator[GraphProblem]:
    values = value if item.options.get("multiselect") and isinstance(value, list) else [value]
    for one in values:
        if one in (item.choices or ()) or (
            isinstance(one, str) and (item.accepts_uploads or one in known_files)
        ):
            continue
        yield GraphProblem("value_not_in_list", f"{one!r} is none of its options", id, item.name)


def _validate_number(id: str, item: NodeInput, value: Any) -> Iterator[GraphProblem]:
    try:
        number = int(value) if item.type == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        yield GraphProblem("invalid_input_type", f"{value!r} is no {item.type}", id, item.name)
        return
    low, high = item.options.get("min"), item.options.get("max")
    if low is not None and number < low:
        yield GraphProblem("value_smaller_than_min", f"{number} is below {low}", id, item.name)
    if high is not None and number > high:
        yield GraphProblem("value_bigger_than_max", f"{number} is above {high}", id, item.name)


def _validate_acyclic(graph: Graph) -> Iterator[GraphProblem]:
    path = find_cycle({id: node.get("inputs") or {} for id, node in graph.items()})
    if path:
        yield GraphProblem("dependency_cycle", f"nodes depend on each other: {' -> '.join(path)}", path[-1])

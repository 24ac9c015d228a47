"""Proof, without any instance, that a graph will pass ComfyUI's own validation."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.checks.node_facts import (
    ANY,
    WIDGET_TYPES,
    Input,
    NodeFacts,
    inputs_of,
    output_types,
)
from orchestrator.catalog.rendering.graph import Link, as_link, circle, links_of

Graph = Mapping[str, Mapping[str, Any]]

# The author of a graph writes this node's options, and its class checks none.
_OWN_OPTIONS = frozenset({"CustomCombo"})

# A misspelt optional input does no harm that a server would complain of; it just does nothing.
_HARMLESS = frozenset({"unknown_input"})


@dataclass(frozen=True, slots=True)
class Problem:
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
    def harmless(self) -> bool:
        """Whether a server would run the graph all the same."""
        return self.code in _HARMLESS

    def __str__(self) -> str:
        place = f"node {self.node}" if self.node else "graph"
        return f"{place}{f', input {self.input}' if self.input else ''}: {self.message} ({self.code})"


def check_graph(graph: Graph, facts: NodeFacts, files: Container[str] = ()) -> list[Problem]:
    """All problems of an API-format graph, in the order of its nodes.

    `files` are names that any option list may be taken to hold: weights and uploads that the recorded
    facts know nothing of.
    """
    outputs = [id for id, node in graph.items() if _entry(node, facts).get("output_node")]
    needed = reachable(graph, outputs)
    problems = []
    for id, node in graph.items():
        if not _entry(node, facts):
            message = f"there is no node class {node.get('class_type')!r}"
            problems.append(Problem("missing_node_type", message, id))
        elif id in needed:
            problems.extend(_check_node(id, graph, facts, files))
    if not outputs:
        problems.append(Problem("prompt_no_outputs", "no node of the graph is an output node"))
    return [*problems, *_check_cycles(graph)]


def reachable(graph: Graph, outputs: Iterable[str]) -> set[str]:
    """The nodes that the `outputs` need, themselves included: a server looks at no others."""
    found: set[str] = set()
    waiting = [id for id in outputs if id in graph]
    while waiting:
        id = waiting.pop()
        if id not in found:
            found.add(id)
            inputs = graph[id].get("inputs") or {}
            waiting.extend(link.node for _, link in links_of(inputs) if link.node in graph)
    return found


def _entry(node: Mapping[str, Any], facts: NodeFacts) -> Mapping[str, Any]:
    class_type = node.get("class_type")
    return facts.get(class_type, {}) if isinstance(class_type, str) else {}


def _check_node(id: str, graph: Graph, facts: NodeFacts, files: Container[str]) -> Iterator[Problem]:
    node = graph[id]
    entry = _entry(node, facts)
    given = node.get("inputs") or {}
    known = inputs_of(entry, given)
    for name, item in known.items():
        if name not in given:
            if item.required and item.type != "COMFY_AUTOGROW_V3":
                yield Problem("required_input_missing", f"{item.type} is missing", id, name)
            continue
        link = as_link(given[name])
        if link is not None:
            yield from _check_link(id, item, link, graph, facts)
        elif node["class_type"] not in _OWN_OPTIONS:
            yield from _check_value(id, item, given[name], files)
    for name in given.keys() - known.keys():
        yield Problem("unknown_input", f"{node['class_type']} has no such input", id, name)


def _check_link(id: str, item: Input, link: Link, graph: Graph, facts: NodeFacts) -> Iterator[Problem]:
    source = graph.get(link.node)
    if source is None:
        yield Problem("linked_node_missing", f"there is no node {link.node}", id, item.name)
        return
    entry = _entry(source, facts)
    if not entry:
        return  # told once, of that node
    types = output_types(entry)
    if link.slot >= len(types):
        message = f"{source['class_type']} has {len(types)} outputs, not {link.slot + 1}"
        yield Problem("linked_slot_missing", message, id, item.name)
    elif not item.accepts(types[link.slot]):
        message = f"takes {item.type}, not {types[link.slot]} of node {link.node}"
        yield Problem("return_type_mismatch", message, id, item.name)


def _check_value(id: str, item: Input, value: Any, files: Container[str]) -> Iterator[Problem]:
    if item.choices is not None:
        yield from _check_choice(id, item, value, files)
    elif item.type in ("INT", "FLOAT"):
        yield from _check_number(id, item, value)
    elif not WIDGET_TYPES & set(item.type.split(",")) and item.type != ANY:
        yield Problem("invalid_input_type", f"{item.type} must come through a link", id, item.name)


def _check_choice(id: str, item: Input, value: Any, files: Container[str]) -> Iterator[Problem]:
    values = value if item.options.get("multiselect") and isinstance(value, list) else [value]
    for one in values:
        if one in (item.choices or ()) or (isinstance(one, str) and (item.takes_upload or one in files)):
            continue
        yield Problem("value_not_in_list", f"{one!r} is none of its options", id, item.name)


def _check_number(id: str, item: Input, value: Any) -> Iterator[Problem]:
    try:
        number = int(value) if item.type == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        yield Problem("invalid_input_type", f"{value!r} is no {item.type}", id, item.name)
        return
    low, high = item.options.get("min"), item.options.get("max")
    if low is not None and number < low:
        yield Problem("value_smaller_than_min", f"{number} is below {low}", id, item.name)
    if high is not None and number > high:
        yield Problem("value_bigger_than_max", f"{number} is above {high}", id, item.name)


def _check_cycles(graph: Graph) -> Iterator[Problem]:
    path = circle({id: node.get("inputs") or {} for id, node in graph.items()})
    if path:
        yield Problem("dependency_cycle", f"nodes depend on each other: {' -> '.join(path)}", path[-1])

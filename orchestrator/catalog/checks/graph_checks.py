"""Validate a graph against node facts, without an instance, by the rules of ComfyUI's validation."""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.checks.link_types import LinkRules
from orchestrator.catalog.checks.node_facts import (
    ANY_TYPE,
    WIDGET_TYPES,
    InputResolver,
    NodeFacts,
    NodeInput,
)
from orchestrator.catalog.checks.undefined_classes import describe_undefined
from orchestrator.catalog.pack_options import describe_option
from orchestrator.catalog.rendering.graph import (
    ApiGraphView,
    Link,
    find_cycle,
    find_upstream_nodes,
    iter_links,
    parse_link,
    unwrap_value,
)
from orchestrator.similar_names import find_similar

#: Options that a message lists, and characters of each.
_MAX_SHOWN_CHOICES = 8
_MAX_SHOWN_CHARACTERS = 100
#: Options among which similar ones are looked for.
_MAX_COMPARED_CHOICES = 1000

# The options of this node are written by the graph's author, and not validated by its class.
_FREE_OPTION_CLASSES = frozenset({"CustomCombo"})
# Classes that take inputs which they do not declare.
_OPEN_CLASSES = frozenset({"CustomCombo", "Power Lora Loader (rgthree)"})

#: Characters of a value in a problem.
_MAX_SHOWN = 100
_TYPE_NAMES = {str: "a text", int: "a number", float: "a number", bool: "a switch", type(None): "null"}

# ComfyUI ignores unknown inputs; one is probably a misspelt optional input. The service says of a parameter
# without an effect that it has none.
_WARNING_CODES = frozenset({"unknown_input", "parameter_without_effect"})


@dataclass(frozen=True, slots=True)
class GraphProblem:
    """One problem of a graph."""

    #: ComfyUI's error type if it has one: `missing_node_type`, `required_input_missing`, `bad_linked_input`,
    #: `return_type_mismatch`, `invalid_input_type`, `value_bigger_than_max`,
    #: `value_smaller_than_min`, `value_not_in_list`, `dependency_cycle`, `prompt_no_outputs`.
    code: str
    message: str
    #: Empty for a problem of the whole graph.
    node: str = ""
    input: str = ""

    @property
    def is_warning(self) -> bool:
        """Whether a server runs the graph in spite of the problem."""
        return self.code in _WARNING_CODES

    def __str__(self) -> str:
        place = f"node {self.node}" if self.node else "graph"
        return f"{place}{f', input {self.input}' if self.input else ''}: {self.message} ({self.code})"


def validate_graph(
    graph: ApiGraphView, facts: NodeFacts, known_files: Container[str] = ()
) -> list[GraphProblem]:
    """Return all problems of an API-format graph, in the order of its nodes.

    `known_files` are valid options of every list of files: weights and uploads that are not in the recorded
    facts.
    """
    return GraphValidator(facts, known_files).validate(graph)


class GraphValidator:
    """Validates graphs that share most nodes: a node that is the same object is not looked at again."""

    def __init__(self, facts: NodeFacts, known_files: Container[str] = ()) -> None:
        self._facts = facts
        self._resolver = InputResolver(facts)
        self._link_rules = LinkRules(facts)
        self._known_files = known_files
        #: The last graph, and the links of each of its nodes.
        self._graph: ApiGraphView | None = None
        self._links: dict[str, tuple[Link, ...]] = {}
        #: Nodes that its outputs depend on.
        self._needed: set[str] = set()
        #: Problems of its nodes, in another order than the graph, and those of the whole graph.
        self._found: dict[str, list[GraphProblem]] = {}
        self._rest: list[GraphProblem] = []

    def validate(self, graph: ApiGraphView) -> list[GraphProblem]:
        """Return all problems of an API-format graph, in the order of its nodes."""
        last, self._graph = self._graph, graph
        changed = [id for id, node in graph.items() if last is None or last.get(id) is not node]
        is_same_shape = (
            last is not None
            and graph.keys() == last.keys()
            and all(self._is_linked_alike(id, graph[id], last[id]) for id in changed)
        )
        if not is_same_shape:
            self._read_structure(graph)
            changed = list(graph)
        for id in changed:
            self._found.pop(id, None)
            if problems := [*self._validate_node(id, graph)]:
                self._found[id] = problems
        found = [problem for id in graph if id in self._found for problem in self._found[id]]
        return [*found, *self._rest]

    def _is_linked_alike(self, id: str, node: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
        is_same_class = node.get("class_type") == last.get("class_type")
        return is_same_class and _read_links(node) == self._links[id]

    def _read_structure(self, graph: ApiGraphView) -> None:
        """Read what depends on classes and links alone: the needed nodes, and cycles."""
        outputs = [id for id, node in graph.items() if self.is_output(node)]
        self._links = {id: _read_links(node) for id, node in graph.items()}
        self._needed = find_upstream_nodes(graph, outputs)
        self._found = {}
        self._rest = [*_validate_acyclic(graph)]
        if not outputs:
            missing = GraphProblem("prompt_no_outputs", "no node of the graph is an output node")
            self._rest.insert(0, missing)

    def is_output(self, node: Mapping[str, Any]) -> bool:
        """Return whether the class of a node saves or shows results."""
        return bool(_node_facts(node, self._facts).get("output_node"))

    def _validate_node(self, id: str, graph: ApiGraphView) -> Iterator[GraphProblem]:
        node = graph[id]
        if not _node_facts(node, self._facts):
            undefined = describe_undefined(str(node.get("class_type")))
            message = f"needs {undefined}" if undefined else f"unknown node class {node.get('class_type')!r}"
            yield GraphProblem("missing_node_type", message, id)
        elif id in self._needed:
            known = self._resolver.resolve(node["class_type"], node.get("inputs") or {})
            yield from _validate_node(id, graph, known, self._link_rules, self._known_files)


def _read_links(node: Mapping[str, Any]) -> tuple[Link, ...]:
    return tuple(link for _, link in iter_links(node.get("inputs") or {}))


def _node_facts(node: Mapping[str, Any], facts: NodeFacts) -> Mapping[str, Any]:
    class_type = node.get("class_type")
    return facts.get(class_type, {}) if isinstance(class_type, str) else {}


def _validate_node(
    id: str,
    graph: ApiGraphView,
    known: Mapping[str, NodeInput],
    link_rules: LinkRules,
    known_files: Container[str],
) -> Iterator[GraphProblem]:
    node = graph[id]
    given = node.get("inputs") or {}
    for name, item in known.items():
        if name not in given:
            if item.required and item.type != "COMFY_AUTOGROW_V3":
                yield GraphProblem("required_input_missing", f"is required ({item.type})", id, name)
            continue
        value = given[name]
        link = parse_link(value)
        if link is not None:
            yield from _validate_link(id, item, link, graph, link_rules)
        elif isinstance(value, list):
            message = f'a list is read as a link: must be ["NODE", OUTPUT] (got {repr(value)[:_MAX_SHOWN]})'
            yield GraphProblem("bad_linked_input", message, id, name)
        elif node["class_type"] not in _FREE_OPTION_CLASSES:
            yield from _validate_value(id, item, unwrap_value(value), known_files)
    for name in sorted(given.keys() - known.keys()) if node["class_type"] not in _OPEN_CLASSES else ():
        yield GraphProblem("unknown_input", f"{node['class_type']} has no such input", id, name)


def _validate_link(
    id: str, item: NodeInput, link: Link, graph: ApiGraphView, rules: LinkRules
) -> Iterator[GraphProblem]:
    source = graph.get(link.node)
    if source is None:
        yield GraphProblem("linked_node_missing", f"linked node {link.node} does not exist", id, item.name)
        return
    types = rules.output_types(source.get("class_type"))
    if types is None:
        return  # reported once, for that node
    if link.slot >= len(types):
        message = (
            f"links to output {link.slot} of node {link.node} ({source['class_type']}), which has"
            f" {f'outputs 0 to {len(types) - 1}' if types else 'none'}"
        )
        yield GraphProblem("linked_slot_missing", message, id, item.name)
    elif not rules.accepts(str(graph[id]["class_type"]), item, str(source["class_type"]), link.slot):
        message = f"must be {item.type} (got {types[link.slot]} of node {link.node})"
        yield GraphProblem("return_type_mismatch", message, id, item.name)


def _validate_value(
    id: str, item: NodeInput, value: Any, known_files: Container[str]
) -> Iterator[GraphProblem]:
    if item.choices is not None:
        yield from _validate_choice(id, item, value, known_files)
    elif item.type in ("INT", "FLOAT"):
        yield from _validate_number(id, item, value)
    elif not WIDGET_TYPES & set(item.type.split(",")) and item.type != ANY_TYPE:
        yield GraphProblem("invalid_input_type", f"{item.type} must be linked to an output", id, item.name)


def _validate_choice(
    id: str, item: NodeInput, value: Any, known_files: Container[str]
) -> Iterator[GraphProblem]:
    values = value if item.options.get("multiselect") and isinstance(value, list) else [value]
    for one in values:
        choices = item.choices or ()
        is_upload = item.accepts_uploads and isinstance(one, str)
        if one in choices or (is_upload and one.strip()) or (isinstance(one, str) and one in known_files):
            continue
        if is_upload:
            yield GraphProblem("value_not_in_list", "names no file; choose one", id, item.name)
            continue
        pack = describe_option(one, choices) if isinstance(one, str) else ""
        hint = pack or f"{_describe_type(one, choices)}{_list_choices(one, choices)}"
        message = f"{_shorten(repr(one))} is not one of its options{hint}"
        yield GraphProblem("value_not_in_list", message, id, item.name)


def _describe_type(value: Any, choices: Collection[Any]) -> str:
    """Return which option looks like a value that is of another type, as 1 and the text `1`."""
    for choice in choices:
        if type(choice) is not type(value) and str(choice).lower() == str(value).lower():
            kinds = [_TYPE_NAMES.get(type(each), "another type") for each in (choice, value)]
            return f", of which {json.dumps(choice)} is {kinds[0]} and this is {kinds[1]}"
    return ""


def _list_choices(value: Any, choices: Collection[Any]) -> str:
    """Return some of the options, similar ones first."""
    texts = [str(choice) for choice in choices]
    if not texts:
        return ""
    ordered = [
        *dict.fromkeys(
            [*find_similar(str(value)[:_MAX_SHOWN_CHARACTERS], texts[:_MAX_COMPARED_CHOICES], 3), *texts]
        )
    ]
    more = f" and {len(ordered) - _MAX_SHOWN_CHOICES} more" if len(ordered) > _MAX_SHOWN_CHOICES else ""
    return f": {', '.join(map(_shorten, ordered[:_MAX_SHOWN_CHOICES]))}{more}"


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}..."


def _validate_number(id: str, item: NodeInput, value: Any) -> Iterator[GraphProblem]:
    try:
        number = int(value) if item.type == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        message = f"must be a number of type {item.type} (got {repr(value)[:_MAX_SHOWN]})"
        yield GraphProblem("invalid_input_type", message, id, item.name)
        return
    low, high = item.options.get("min"), item.options.get("max")
    given = f"(got {repr(number)[:_MAX_SHOWN]})"
    if low is not None and number < low:
        yield GraphProblem("value_smaller_than_min", f"must be at least {low} {given}", id, item.name)
    if high is not None and number > high:
        yield GraphProblem("value_bigger_than_max", f"must be at most {high} {given}", id, item.name)


def _validate_acyclic(graph: ApiGraphView) -> Iterator[GraphProblem]:
    path = find_cycle({id: node.get("inputs") or {} for id, node in graph.items()})
    if path:
        yield GraphProblem("dependency_cycle", f"nodes depend on each other: {' -> '.join(path)}", path[-1])

"""Validate a graph against node facts, without an instance, by the rules of ComfyUI's validation."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.checks.link_types import further_input_types, further_output_types
from orchestrator.catalog.checks.node_facts import (
    ANY_TYPE,
    WIDGET_TYPES,
    InputResolver,
    NodeFacts,
    NodeInput,
    output_types,
    types_overlap,
)
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
    """Validates graphs that differ in few nodes: what was found for an equal node is not looked for again."""

    def __init__(self, facts: NodeFacts, known_files: Container[str] = ()) -> None:
        self._facts = facts
        self._resolver = InputResolver(facts)
        self._known_files = known_files
        #: Inputs of each node, and the links among them.
        self._inputs: dict[str, tuple[Mapping[str, Any], tuple[Link, ...]]] = {}
        #: Classes of each node and its sources, its inputs, and its problems.
        self._found: dict[str, tuple[tuple[Any, ...], Mapping[str, Any], list[GraphProblem]]] = {}
        #: Outputs and links, and what depends on them alone: the needed nodes, and cycles.
        self._structure: tuple[list[str], dict[str, tuple[Link, ...]]] = ([], {})
        self._needed: set[str] = set()
        self._cycles: list[GraphProblem] = []

    def validate(self, graph: ApiGraphView) -> list[GraphProblem]:
        """Return all problems of an API-format graph, in the order of its nodes."""
        outputs = [id for id, node in graph.items() if self.is_output(node)]
        structure = (outputs, {id: self._read_links(id, node) for id, node in graph.items()})
        if structure != self._structure:
            self._structure = structure
            self._needed = find_upstream_nodes(graph, outputs)
            self._cycles = [*_validate_acyclic(graph)]
        problems = []
        for id, node in graph.items():
            if not _node_facts(node, self._facts):
                message = f"unknown node class {node.get('class_type')!r}"
                problems.append(GraphProblem("missing_node_type", message, id))
            elif id in self._needed:
                problems.extend(self._validate_node(id, graph))
        if not outputs:
            problems.append(GraphProblem("prompt_no_outputs", "no node of the graph is an output node"))
        return [*problems, *self._cycles]

    def is_output(self, node: Mapping[str, Any]) -> bool:
        """Return whether the class of a node saves or shows results."""
        return bool(_node_facts(node, self._facts).get("output_node"))

    def _read_links(self, id: str, node: Mapping[str, Any]) -> tuple[Link, ...]:
        inputs = node.get("inputs") or {}
        if id not in self._inputs or self._inputs[id][0] != inputs:
            self._inputs[id] = inputs, tuple(link for _, link in iter_links(inputs))
        return self._inputs[id][1]

    def _validate_node(self, id: str, graph: ApiGraphView) -> list[GraphProblem]:
        inputs, links = self._inputs[id]
        sources = (graph[link.node]["class_type"] if link.node in graph else None for link in links)
        classes = (graph[id]["class_type"], *sources)
        found = self._found.get(id)
        if found is None or found[0] != classes or found[1] is not inputs:
            known = self._resolver.resolve(graph[id]["class_type"], inputs)
            problems = [*_validate_node(id, graph, known, self._facts, self._known_files)]
            found = self._found[id] = classes, inputs, problems
        return found[2]


def _node_facts(node: Mapping[str, Any], facts: NodeFacts) -> Mapping[str, Any]:
    class_type = node.get("class_type")
    return facts.get(class_type, {}) if isinstance(class_type, str) else {}


def _validate_node(
    id: str,
    graph: ApiGraphView,
    known: Mapping[str, NodeInput],
    facts: NodeFacts,
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
            yield from _validate_link(id, item, link, graph, facts)
        elif isinstance(value, list):
            message = f'a list is read as a link: must be ["NODE", OUTPUT] (got {repr(value)[:_MAX_SHOWN]})'
            yield GraphProblem("bad_linked_input", message, id, name)
        elif node["class_type"] not in _FREE_OPTION_CLASSES:
            yield from _validate_value(id, item, unwrap_value(value), known_files)
    for name in sorted(given.keys() - known.keys()) if node["class_type"] not in _OPEN_CLASSES else ():
        yield GraphProblem("unknown_input", f"{node['class_type']} has no such input", id, name)


def _validate_link(
    id: str, item: NodeInput, link: Link, graph: ApiGraphView, facts: NodeFacts
) -> Iterator[GraphProblem]:
    source = graph.get(link.node)
    if source is None:
        yield GraphProblem("linked_node_missing", f"linked node {link.node} does not exist", id, item.name)
        return
    entry = _node_facts(source, facts)
    if not entry:
        return  # reported once, for that node
    types = output_types(entry)
    if link.slot >= len(types):
        message = (
            f"links to output {link.slot} of node {link.node} ({source['class_type']}), which has"
            f" {f'outputs 0 to {len(types) - 1}' if types else 'none'}"
        )
        yield GraphProblem("linked_slot_missing", message, id, item.name)
    elif not _is_accepted(graph[id], item, source, link.slot, facts):
        message = f"must be {item.type} (got {types[link.slot]} of node {link.node})"
        yield GraphProblem("return_type_mismatch", message, id, item.name)


def _is_accepted(
    node: Mapping[str, Any], item: NodeInput, source: Mapping[str, Any], slot: int, facts: NodeFacts
) -> bool:
    """Return whether an input of a node accepts output `slot` of another node."""
    target, origin = _node_facts(node, facts), _node_facts(source, facts)
    accepted = [item.type, *further_input_types(str(node["class_type"]), item.name, target)]
    given = [output_types(origin)[slot], *further_output_types(str(source["class_type"]), slot, origin)]
    return types_overlap(",".join(accepted), ",".join(given))


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
        message = f"{_shorten(repr(one))} is not one of its options{pack or _list_choices(one, choices)}"
        yield GraphProblem("value_not_in_list", message, id, item.name)


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

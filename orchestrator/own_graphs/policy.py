"""Decides whether the service runs a caller's graph. Pure; nothing in the graph is ever evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.checks.graph_checks import validate_graph
from orchestrator.catalog.checks.node_facts import NodeFacts, NodeInput, resolve_inputs
from orchestrator.catalog.rendering.graph import ApiGraph, find_upstream_nodes
from orchestrator.own_graphs.denied_classes import DENIED_CLASSES
from orchestrator.own_graphs.growth import find_growth
from orchestrator.own_graphs.limits import GraphLimits
from orchestrator.own_graphs.number_ranges import NumberRanges
from orchestrator.own_graphs.parsing import is_like_link, parse_own_graph
from orchestrator.own_graphs.pixels import find_oversized
from orchestrator.own_graphs.rejections import GraphRejected, NodeProblem
from orchestrator.own_graphs.values import (
    SHOWN_ONLY,
    FileUse,
    NodeChecker,
    describe_options,
    is_file_input,
    is_prefix,
    may_be_an_option,
    weight_inputs,
)

#: Classes that take inputs which they do not declare.
_OPEN_CLASSES = frozenset({"CustomCombo"})
#: Output nodes that show a result without saving a file; they alone make no graph worth running.
_SHOWS_ONLY = frozenset(
    {"ImageCompare", "MaskPreview", "CreateBoundingBoxes", "ImageCompositor", "SAM3_TrackPreview"}
)
_FAILED = "prompt_outputs_failed_validation"
_NOT_IN_LIST = "value_not_in_list"
#: Stands for a file of the caller in the check against node facts, which know no uploads.
_ANY_UPLOAD = "upload"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedGraph:
    """A graph that the policy allows, with what its nodes declare only."""

    nodes: ApiGraph
    #: Output nodes in the order of the graph.
    outputs: tuple[str, ...]
    #: Where files of the caller go.
    files: tuple[FileUse, ...]
    #: Texts of the graph by `NODE.INPUT`, for moderation.
    texts: Mapping[str, str]
    #: Weight files by `NODE.INPUT`.
    weights: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphPolicy:
    """Which graphs of callers the service runs."""

    #: Classes of the pinned core, and of packs that the operator allows.
    facts: NodeFacts
    #: Classes that are denied besides, with the reason.
    also_denied: Mapping[str, str] = field(default_factory=dict)
    #: Classes that the operator allows, although they are of a pack or on the list of denied ones.
    allowed: frozenset[str] = frozenset()
    limits: GraphLimits = field(default_factory=GraphLimits)

    def is_allowed(self, class_type: str) -> bool:
        """Return whether callers may use a node class."""
        return class_type in self.facts and self._reason_to_deny(class_type) is None

    def _reason_to_deny(self, class_type: str) -> str | None:
        if class_type in self.also_denied:
            return self.also_denied[class_type]
        return None if class_type in self.allowed else DENIED_CLASSES.get(class_type)

    def check(self, data: object) -> CheckedGraph:
        """Return a graph that the service runs. Raises GraphRejected with all problems."""
        graph = parse_own_graph(data, self.limits)
        self._check_classes(graph)
        inputs = {id: self._declared(node) for id, node in graph.items()}
        sent = {id: self._without_unknown(node, inputs[id]) for id, node in graph.items()}
        outputs = self._find_outputs(sent)
        problems = list(self._check_nodes(sent, inputs))
        problems += find_growth(sent, self.limits.max_growth)
        # Numbers that are wrong by themselves are named once.
        problems += [] if problems else find_oversized(sent, self.limits)
        if problems:
            raise self._reject(problems, sent, outputs)
        needed = find_upstream_nodes(sent, outputs)
        sent = {id: node for id, node in sent.items() if id in needed}
        self._check_against_facts(sent, inputs, outputs)
        return CheckedGraph(
            nodes=sent,
            outputs=outputs,
            files=tuple(_file_uses(sent, inputs)),
            texts=dict(_texts(sent, inputs)),
            weights=dict(self._weights(sent)),
        )

    def _check_classes(self, graph: ApiGraph) -> None:
        """Reject unknown and denied classes before anything else is said about their inputs."""
        problems = []
        unknown = None
        for id, node in graph.items():
            class_type = node["class_type"]
            if class_type not in self.facts:
                unknown = unknown or id
                reason = (
                    f"{class_type[:100]!r} is not a node class of this server: only nodes of ComfyUI's core"
                    " run here; GET /object_info lists them"
                )
                problems.append(_class_problem(id, class_type, "missing_node_type", reason))
            elif (denied := self._reason_to_deny(class_type)) is not None:
                reason = f"{class_type} is not allowed: {denied}"
                problems.append(_class_problem(id, class_type, "forbidden_class", reason))
        if problems:
            raise self._reject(problems, graph, (), "missing_node_type" if unknown else "forbidden_class")

    def _declared(self, node: Mapping[str, Any]) -> Mapping[str, NodeInput]:
        return resolve_inputs(self.facts[node["class_type"]], node["inputs"])

    def _without_unknown(self, node: Mapping[str, Any], inputs: Mapping[str, NodeInput]) -> dict[str, Any]:
        """Return the node without inputs that its class does not declare: what is not checked is not sent."""
        is_open = node["class_type"] in _OPEN_CLASSES
        known = {
            name: "" if name in inputs and inputs[name].type in SHOWN_ONLY else value
            for name, value in node["inputs"].items()
            if name in inputs or is_open
        }
        return {"class_type": node["class_type"], "inputs": known}

    def _find_outputs(self, graph: ApiGraph) -> tuple[str, ...]:
        outputs = tuple(id for id, node in graph.items() if self.facts[node["class_type"]].get("output_node"))
        if not any(graph[id]["class_type"] not in _SHOWS_ONLY for id in outputs):
            shown = ", ".join(f"{graph[id]['class_type']} (node {id})" for id in outputs[:5])
            reason = f": what {shown} shows is not kept" if shown else ""
            raise GraphRejected(
                f"The graph saves nothing{reason}; add an output node such as SaveImage, PreviewImage or"
                " SaveVideo",
                error_type="prompt_no_outputs",
            )
        return outputs

    def _check_nodes(
        self, graph: ApiGraph, inputs: Mapping[str, Mapping[str, NodeInput]]
    ) -> Iterator[NodeProblem]:
        ranges = NumberRanges(graph, self.limits)
        for id in graph:
            checker = NodeChecker(id, graph, self.limits, ranges)
            yield from checker.check(inputs[id])
            for name, value in graph[id]["inputs"].items():
                item = inputs[id].get(name)
                if item is not None and is_file_input(item) and not _is_blank(item, value):
                    yield from checker.check_file(name, value)

    def _check_against_facts(
        self, graph: ApiGraph, inputs: Mapping[str, Mapping[str, NodeInput]], outputs: Sequence[str]
    ) -> None:
        """Reject what ComfyUI itself would reject, except names of weights, which instances know."""
        shown_graph = {
            id: {**node, "inputs": {name: _ANY_UPLOAD if isinstance(value, dict) else value
                                    for name, value in node["inputs"].items()}}
            for id, node in graph.items()
        }  # fmt: skip
        problems = []
        for found in validate_graph(shown_graph, self.facts):
            if found.is_warning or not found.node:
                continue
            node, item = graph[found.node], inputs[found.node].get(found.input)
            value = node["inputs"].get(found.input)
            message = found.message
            if found.code == _NOT_IN_LIST and item is not None:
                if may_be_an_option(item, value):
                    continue
                message = describe_options(node["class_type"], item, value)
            problems.append(
                NodeProblem(
                    node=found.node,
                    class_type=node["class_type"],
                    type=found.code,
                    message=f"`{found.input}` {message}" if found.input else message,
                    input=found.input,
                    value=value,
                )
            )
        if problems:
            raise self._reject(problems, graph, outputs)

    def _weights(self, graph: ApiGraph) -> Iterator[tuple[str, str]]:
        for id, node in graph.items():
            for name in weight_inputs(self.facts[node["class_type"]]):
                value = node["inputs"].get(name)
                if isinstance(value, str) and node["class_type"] not in _OPEN_CLASSES:
                    yield f"{id}.{name}", value

    @staticmethod
    def _reject(
        problems: Sequence[NodeProblem],
        graph: ApiGraph,
        outputs: Sequence[str],
        error_type: str = _FAILED,
    ) -> GraphRejected:
        upstream = {output: find_upstream_nodes(graph, [output]) for output in outputs}
        affected = {
            problem.node: [output for output, nodes in upstream.items() if problem.node in nodes]
            for problem in problems
        }
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return GraphRejected(
            f"The graph is not run: {problems[0]}{more}",
            error_type=error_type,
            problems=problems,
            outputs_by_node=affected,
        )


def _class_problem(id: str, class_type: str, type: str, message: str) -> NodeProblem:
    further = {"node_id": id, "class_type": class_type[:200]}
    return NodeProblem(node=id, class_type=class_type[:200], type=type, message=message, further=further)


def _is_blank(item: NodeInput, value: Any) -> bool:
    """Return whether an input for a file may be empty, and is: that of a painter's mask."""
    return item.type == "STRING" and value in ("", None)


def _file_uses(graph: ApiGraph, inputs: Mapping[str, Mapping[str, NodeInput]]) -> Iterator[FileUse]:
    for id, node in graph.items():
        for name, value in node["inputs"].items():
            item = inputs[id].get(name)
            if item is not None and is_file_input(item) and not _is_blank(item, value):
                yield FileUse(id, name, value)


def _texts(graph: ApiGraph, inputs: Mapping[str, Mapping[str, NodeInput]]) -> Iterator[tuple[str, str]]:
    for id, node in graph.items():
        for name, value in node["inputs"].items():
            item = inputs[id].get(name)
            is_text = item is None or (item.type == "STRING" and not is_file_input(item))
            if is_text and isinstance(value, str) and value.strip() and not is_prefix(name):
                yield f"{id}.{name}", value
            elif isinstance(value, list) and not is_like_link(value):
                yield from (
                    (f"{id}.{name}", text) for text in value if isinstance(text, str) and text.strip()
                )

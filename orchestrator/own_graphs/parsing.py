"""Read the JSON of a caller's graph: its structure, without what its values mean."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.catalog.rendering.graph import ApiGraph, Link, check_nesting_depth, find_cycle, parse_link
from orchestrator.own_graphs.limits import GraphLimits
from orchestrator.own_graphs.rejections import GraphRejected, NodeProblem, shown

#: Ids of nodes: those of ComfyUI are numbers, joined by colons within subgraphs.
_NODE_ID = re.compile(r"[\w.:#@ -]{1,100}", re.ASCII)
MAX_CLASS_NAME = 200
#: NUL, which not every database stores, and lone surrogates, which no UTF-8 has.
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_FAILED = "prompt_outputs_failed_validation"


def parse_own_graph(data: object, limits: GraphLimits) -> ApiGraph:
    """Return the nodes with `class_type` and `inputs` only. Raises GraphRejected."""
    if not isinstance(data, dict):
        reason = 'must be an object of nodes in API format: {ID: {"class_type", "inputs"}}'
        raise GraphRejected(f"The graph {reason} (got {type(data).__name__})", error_type="invalid_prompt")
    if isinstance(data.get("nodes"), list):
        raise GraphRejected(
            "The graph is in the format of the user interface; export it with `Export (API)` and send that",
            error_type="invalid_prompt",
            code="workflow_format_ui",
        )
    if not data:
        raise GraphRejected("The graph has no nodes", error_type="prompt_no_outputs")
    if len(data) > limits.max_nodes:
        raise GraphRejected(
            f"The graph has {len(data)} nodes; at most {limits.max_nodes} are allowed: split it",
            error_type="invalid_prompt",
        )
    _check_size(data, limits)
    graph = {id: _parse_node(id, node) for id, node in data.items()}
    _check_values(graph)
    _check_links(graph)
    _check_depth(graph, limits)
    return graph


def _check_size(data: Mapping[str, Any], limits: GraphLimits) -> None:
    try:
        check_nesting_depth(data)
        size = len(json.dumps(data))
    except (ValueError, RecursionError) as error:
        raise GraphRejected(f"The graph is not valid: {error}", error_type="invalid_prompt") from error
    if size > limits.max_bytes:
        raise GraphRejected(
            f"The graph has {size} bytes; at most {limits.max_bytes} are allowed: upload large values as"
            " files and refer to them",
            error_type="invalid_prompt",
        )


def _parse_node(id: str, node: object) -> dict[str, Any]:
    if not _NODE_ID.fullmatch(id):
        raise GraphRejected(
            f"{shown(id)!r} is not a node id: use 1 to 100 letters, digits and `._:#@ -`",
            error_type="invalid_prompt",
        )
    class_type = node.get("class_type") if isinstance(node, dict) else None
    inputs = node.get("inputs", {}) if isinstance(node, dict) else None
    if not isinstance(class_type, str) or not 0 < len(class_type) <= MAX_CLASS_NAME:
        raise GraphRejected(
            f"Node {id} must be an object with a text `class_type` and an object `inputs`",
            error_type="invalid_prompt",
        )
    if not isinstance(inputs, dict):
        raise GraphRejected(f"Node {id}: `inputs` must be an object", error_type="invalid_prompt")
    return {"class_type": class_type, "inputs": {str(name): _unwrap(value) for name, value in inputs.items()}}


def _unwrap(value: Any) -> Any:
    """Return the value that ComfyUI reads from `{"__value__": VALUE}`, so that nothing is checked unread."""
    while isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    return value


def _check_values(graph: ApiGraph) -> None:
    """Reject what JSON can hold, and neither a store nor ComfyUI."""
    problems = [
        NodeProblem(
            node=id, class_type=node["class_type"], type=found[0], message=f"`{name}` {found[1]}", input=name
        )
        for id, node in graph.items()
        for name, value in node["inputs"].items()
        if (found := _find_unusable([name, value])) is not None
    ]  # fmt: skip
    if problems:
        raise GraphRejected(_first(problems), error_type=_FAILED, problems=problems)


def _find_unusable(value: Any) -> tuple[str, str] | None:
    """Return type and message of the first unusable text or number in a value; None if all are usable."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, str) and _UNUSABLE.search(inner):
            reason = "must not hold the NUL character or lone surrogates: send valid Unicode"
            return "forbidden_value", reason
        if isinstance(inner, float) and not math.isfinite(inner):
            return "invalid_input_type", f"must hold finite numbers only (got {inner})"
        if isinstance(inner, dict):
            waiting += [*inner, *inner.values()]
        elif isinstance(inner, list):
            waiting += inner
    return None


def is_like_link(value: Any) -> bool:
    """Return whether ComfyUI may take a value for a link, also a damaged one."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and _is_number(value[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_links(graph: ApiGraph) -> None:
    problems = []
    for id, node in graph.items():
        for name, value in node["inputs"].items():
            if not is_like_link(value):
                continue
            link = parse_link(value)
            if link is None or link.slot < 0 or link.node not in graph:
                reason = f"links to {shown(value)}, which is no output of a node of the graph"
                problems.append(
                    NodeProblem(
                        node=id, class_type=node["class_type"], type="bad_linked_input", message=reason,
                        input=name, value=value,
                    )
                )  # fmt: skip
    if problems:
        raise GraphRejected(_first(problems), error_type=_FAILED, problems=problems)


def _check_depth(graph: ApiGraph, limits: GraphLimits) -> None:
    if path := find_cycle({id: node["inputs"] for id, node in graph.items()}):
        first = path[0]
        problem = NodeProblem(
            node=first,
            class_type=graph[first]["class_type"],
            type="dependency_cycle",
            message=f"nodes depend on each other: {' -> '.join(path[:20])}; remove one of the links",
        )
        raise GraphRejected(str(problem), error_type=_FAILED, problems=[problem])
    depth: dict[str, int] = {}
    for id in topological_order(graph):
        depth[id] = 1 + max((depth[link.node] for link in links_of(graph[id])), default=0)
    deepest = max(depth.values())
    if deepest > limits.max_depth:
        raise GraphRejected(
            f"The graph has a chain of {deepest} nodes; at most {limits.max_depth} are allowed: split it",
            error_type="invalid_prompt",
        )


def links_of(node: Mapping[str, Any]) -> list[Link]:
    """Return the links of a node's inputs."""
    return [link for value in node["inputs"].values() if (link := parse_link(value)) is not None]


def topological_order(graph: ApiGraph) -> list[str]:
    """Return the nodes of a graph without cycles, each after those that it depends on."""
    order: list[str] = []
    done: set[str] = set()
    for root in graph:
        stack = [root]
        while stack:
            id = stack[-1]
            waiting = [link.node for link in links_of(graph[id]) if link.node not in done]
            if waiting and id not in done:
                stack += waiting
                continue
            stack.pop()
            if id not in done:
                done.add(id)
                order.append(id)
    return order


def _first(problems: list[NodeProblem]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"

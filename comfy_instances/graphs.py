"""The little that a session must know of a graph. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: API format: node id -> {"class_type": str, "inputs": {name: literal or [node id, slot]}}.
Graph = Mapping[str, Any]


def with_fresh_prefix(graph: Graph, run_id: str) -> dict[str, Any]:
    """The graph with `run_id` appended to every literal `filename_prefix`.

    A server answers a graph it has just run from its cache, naming the earlier run's file, which may have
    been collected and removed. With a prefix of its own a run's savers always run; its files collide with
    nobody's and can not be guessed.
    """
    return {node_id: _refreshed(node, run_id) for node_id, node in graph.items()}


def _refreshed(node: Any, run_id: str) -> Any:
    inputs = _inputs(node)
    prefix = inputs.get("filename_prefix")
    if not isinstance(prefix, str):
        return node
    return {**node, "inputs": {**inputs, "filename_prefix": f"{prefix}-{run_id}" if prefix else run_id}}


def sinks(graph: Graph) -> frozenset[str]:
    """Ids of the nodes that feed no other: all that a run is done for ends in one of them."""
    return frozenset(graph) - frozenset(_sources(graph))


def nodes_of_class(graph: Graph, classes: frozenset[str]) -> frozenset[str]:
    return frozenset(
        node_id
        for node_id, node in graph.items()
        if isinstance(node, Mapping) and node.get("class_type") in classes
    )


def _sources(graph: Graph) -> Iterator[str]:
    for node in graph.values():
        for value in _inputs(node).values():
            if isinstance(value, list | tuple) and len(value) == 2:
                yield str(value[0])


def _inputs(node: Any) -> Mapping[str, Any]:
    """None are found in what is not a node; to refuse it is the server's part."""
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}

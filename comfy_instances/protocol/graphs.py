"""The little that a session must know of a graph. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: API format: node id -> {"class_type": str, "inputs": {name: literal or [node id, slot]}}.
Graph = Mapping[str, Any]

#: The input that begins a saver's file names, and the classes that call it otherwise.
_PREFIX_INPUT, _PREFIX_INPUT_BY_CLASS = "filename_prefix", {"SaveLoRA": "prefix"}


def with_unique_filename_prefix(graph: Graph, run_id: str) -> dict[str, Any]:
    """The graph with `run_id` appended to every literal prefix of file names.

    A server answers a graph it has just run from its cache, naming the earlier run's file, which may have
    been collected and removed. With a prefix of its own a run's savers always run; its files collide with
    nobody's and can not be guessed.
    """
    return {node_id: _with_unique_node_prefix(node, run_id) for node_id, node in graph.items()}


def _with_unique_node_prefix(node: Any, run_id: str) -> Any:
    inputs = _node_inputs(node)
    name = _PREFIX_INPUT_BY_CLASS.get(node.get("class_type"), _PREFIX_INPUT) if inputs else _PREFIX_INPUT
    prefix = inputs.get(name)
    if not isinstance(prefix, str):
        return node
    return {**node, "inputs": {**inputs, name: f"{prefix}-{run_id}" if prefix else run_id}}


def files_without_events(graph: Graph) -> Iterator[tuple[str, str]]:
    """Node and file (path below the output folder) of every saver that does not say what it has saved.

    The names are ComfyUI's for the first file of a prefix, which a fresh one is.
    """
    for node_id in find_nodes_of_class(graph, frozenset({"SaveLoRA"})):
        inputs = _node_inputs(graph[node_id])
        prefix, steps = inputs.get("prefix"), inputs.get("steps")
        if isinstance(prefix, str) and not isinstance(steps, list | tuple):
            trained = "" if steps is None else f"{steps}_steps_"
            yield node_id, f"{prefix}_{trained}00001_.safetensors"


def find_sink_nodes(graph: Graph) -> frozenset[str]:
    """Ids of the nodes that feed no other: all that a run is done for ends in one of them."""
    return frozenset(graph) - frozenset(_linked_node_ids(graph))


def find_nodes_of_class(graph: Graph, classes: frozenset[str]) -> frozenset[str]:
    return frozenset(
        node_id
        for node_id, node in graph.items()
        if isinstance(node, Mapping) and node.get("class_type") in classes
    )


def _linked_node_ids(graph: Graph) -> Iterator[str]:
    for node in graph.values():
        for value in _node_inputs(node).values():
            if isinstance(value, list | tuple) and len(value) == 2:
                yield str(value[0])


def _node_inputs(node: Any) -> Mapping[str, Any]:
    """None are found in what is not a node; to refuse it is the server's part."""
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}

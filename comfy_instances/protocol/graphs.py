"""Reads and changes graphs in API format, as far as a session needs it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: API format: node id -> {"class_type": str, "inputs": {name: literal or [node id, slot]}}.
Graph = Mapping[str, Any]

#: The input with the prefix of a saver's file names, and the classes that name it differently.
_PREFIX_INPUT, _PREFIX_INPUT_BY_CLASS = "filename_prefix", {"SaveLoRA": "prefix"}


def with_unique_filename_prefix(graph: Graph, run_id: str) -> dict[str, Any]:
    """Return the graph with `run_id` appended to every literal file name prefix.

    A server that has just run a graph serves a repeat from its cache and names the earlier run's file, which
    may be deleted by now. With a unique prefix the savers always run, and their file names neither collide
    nor can be guessed.
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
    """Yield node id and file (path below the output folder) of every saver that reports no output.

    The file name is the one that ComfyUI gives to the first file of a new prefix.
    """
    for node_id in find_nodes_of_class(graph, frozenset({"SaveLoRA"})):
        inputs = _node_inputs(graph[node_id])
        prefix, steps = inputs.get("prefix"), inputs.get("steps")
        if isinstance(prefix, str) and not isinstance(steps, list | tuple):
            trained = "" if steps is None else f"{steps}_steps_"
            yield node_id, f"{prefix}_{trained}00001_.safetensors"


def find_sink_nodes(graph: Graph) -> frozenset[str]:
    """Return the ids of the nodes without consumers; the outputs of a run come from these."""
    return frozenset(graph) - frozenset(_linked_node_ids(graph))


def find_nodes_of_class(graph: Graph, classes: frozenset[str]) -> frozenset[str]:
    """Return the ids of the nodes whose class is in `classes`."""
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
    """Return a node's inputs, empty for a malformed node; the server rejects that."""
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}

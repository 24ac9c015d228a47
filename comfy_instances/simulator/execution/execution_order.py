"""The order in which the nodes of a graph run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


def is_link(value: Any) -> bool:
    """Return whether an input's value is a link: `[node id, output slot]`."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int | float)
    )


@dataclass(slots=True)
class ExecutionOrder:
    """A topological sort of the nodes that still have to run.

    Among ready nodes, an output node runs first, then a node directly before an output, then a node two
    steps before one, then the node that was added first. Cached nodes are not waited for.
    """

    graph: Mapping[str, Any]
    is_output: Callable[[str], bool]
    #: Whether an input of a node is computed only when the node asks for it.
    is_lazy: Callable[[str, str], bool]
    is_cached: Callable[[str], bool]
    #: Node -> the nodes that depend on it.
    _dependents: dict[str, set[str]] = field(default_factory=dict)
    #: Node -> how many nodes it waits for, in the order of discovery.
    _open_dependency_counts: dict[str, int] = field(default_factory=dict)

    def add_node(self, node_id: str) -> None:
        """Add a node and all nodes that it depends on."""
        found, links = [node_id], []
        while found:
            current = found.pop()
            if current in self._open_dependency_counts:
                continue
            self._open_dependency_counts[current] = 0
            self._dependents[current] = set()
            for source in self._eager_sources(current):
                links.append((source, current))
                if not self.is_cached(source):
                    found.append(source)
        for source, target in links:
            self.add_dependency(source, target)

    def add_dependency(self, source: str, target: str) -> None:
        """Make `target` wait for `source`, unless `source` is cached."""
        if self.is_cached(source):
            return
        self.add_node(source)
        if target not in self._dependents[source]:
            self._dependents[source].add(target)
            self._open_dependency_counts[target] += 1

    def _eager_sources(self, node_id: str) -> Iterator[str]:
        for name, value in self.graph[node_id]["inputs"].items():
            if is_link(value) and not self.is_lazy(node_id, name):
                yield value[0]

    def next_node(self) -> str | None:
        """Return the node to run now; None when all have run. It stays pending until `complete_node`."""
        ready = [node for node, count in self._open_dependency_counts.items() if count == 0]
        for distance in range(3):
            for node in ready:
                if self._leads_to_output(node, distance):
                    return node
        return ready[0] if ready else None

    def _leads_to_output(self, node_id: str, distance: int) -> bool:
        if distance == 0:
            return self.is_output(node_id)
        return any(self._leads_to_output(node, distance - 1) for node in self._dependents[node_id])

    def complete_node(self, node_id: str) -> None:
        del self._open_dependency_counts[node_id]
        for waiting in self._dependents.pop(node_id):
            self._open_dependency_counts[waiting] -= 1

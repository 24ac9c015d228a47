"""Where the nodes of the running prompt are, as `progress_state` tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

#: Steps that come sooner after the last one told (seconds), or are less of the whole, are not told.
LEAST_INTERVAL, LEAST_SHARE = 0.1, 0.005


@dataclass(slots=True)
class Progress:
    """All nodes that have begun, in the order in which they did."""

    prompt_id: str
    _nodes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def update(self, node_id: str, value: float, total: float) -> None:
        self._set(node_id, "running", value, total)

    def start(self, node_id: str) -> None:
        self._set(node_id, "running", 0.0, 1.0)

    def finish(self, node_id: str) -> None:
        total = self._nodes[node_id]["max"] if node_id in self._nodes else 1
        self._set(node_id, "finished", total, total)

    def _set(self, node_id: str, state: str, value: float, total: float) -> None:
        self._nodes[node_id] = {"value": value, "max": total, "state": state} | self.ids(node_id)

    def ids(self, node_id: str) -> dict[str, Any]:
        """A node's names. Without sub-graphs they are all the same."""
        return {
            "node_id": node_id,
            "prompt_id": self.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }

    @property
    def message(self) -> dict[str, Any]:
        return {"prompt_id": self.prompt_id, "nodes": {key: dict(node) for key, node in self._nodes.items()}}


@dataclass(slots=True)
class Throttle:
    """Which steps of one node are told: the first, the last, those with a picture, and a few between."""

    clock: Callable[[], float] = monotonic
    _told: tuple[float, float] | None = None

    def passes(self, value: float, total: float, *, shown: bool) -> bool:
        """Whether this step is told; it counts as told if so."""
        now = self.clock()
        if self._told is not None and value < total and not shown:
            last_value, last_time = self._told
            if now - last_time < LEAST_INTERVAL or value - last_value < LEAST_SHARE * total:
                return False
        self._told = (value, now)
        return True

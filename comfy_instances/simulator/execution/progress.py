"""The progress of the nodes of the running prompt, as `progress_state` reports it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

#: Minimum time (seconds) and advance (fraction of the total) between two reported steps.
MIN_INTERVAL_SECONDS, MIN_STEP_FRACTION = 0.1, 0.005


@dataclass(slots=True)
class PromptProgress:
    """The progress of all started nodes, in the order in which they started."""

    prompt_id: str
    _nodes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def update_node(self, node_id: str, value: float, total: float) -> None:
        self._set_node(node_id, "running", value, total)

    def start_node(self, node_id: str) -> None:
        self._set_node(node_id, "running", 0.0, 1.0)

    def finish_node(self, node_id: str) -> None:
        total = self._nodes[node_id]["max"] if node_id in self._nodes else 1
        self._set_node(node_id, "finished", total, total)

    def _set_node(self, node_id: str, state: str, value: float, total: float) -> None:
        self._nodes[node_id] = {"value": value, "max": total, "state": state} | self.node_ids(node_id)

    def node_ids(self, node_id: str) -> dict[str, Any]:
        """Return the ids of a node in messages. Without subgraphs they are all the same."""
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
class ProgressThrottle:
    """Selects the steps of a node to report: the first, the last, those with a preview, and some between."""

    clock: Callable[[], float] = monotonic
    _last_sent: tuple[float, float] | None = None

    def should_send(self, value: float, total: float, *, has_preview: bool) -> bool:
        """Return whether to report this step, and if so, record it as reported."""
        now = self.clock()
        if self._last_sent is not None and value < total and not has_preview:
            last_value, last_time = self._last_sent
            if now - last_time < MIN_INTERVAL_SECONDS or value - last_value < MIN_STEP_FRACTION * total:
                return False
        self._last_sent = (value, now)
        return True

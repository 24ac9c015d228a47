"""What waits, what runs and what became of it: an instance's prompts, in memory only."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

#: Finished prompts that are remembered; the oldest go first.
HISTORY_LIMIT = 10_000

Message = tuple[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One accepted graph."""

    #: Lowest runs first; counted up, or negative for those posted to the front.
    number: float
    prompt_id: str
    graph: dict[str, Any]
    #: `client_id`, `create_time` in milliseconds and what the caller sent along.
    extra_data: dict[str, Any]
    #: Output nodes to execute.
    outputs: list[str]

    @property
    def row(self) -> list[Any]:
        """As `/queue` and `/history` show it."""
        return [self.number, self.prompt_id, self.graph, self.extra_data, self.outputs]

    @property
    def client_id(self) -> str | None:
        return self.extra_data.get("client_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a prompt ended."""

    #: Output node -> key (`images`, `text`, ...) -> items.
    outputs: dict[str, Any]
    #: Output node -> its ids.
    meta: dict[str, Any]
    success: bool
    #: Those of its websocket messages that tell its course.
    messages: list[Message]


@dataclass(slots=True)
class PromptQueue:
    """Prompts by number; `changed` is called whenever the number of open ones may have changed."""

    changed: Callable[[], None]
    running: Prompt | None = None
    history: dict[str, dict[str, Any]] = field(default_factory=dict)
    _waiting: list[tuple[float, str, int, Prompt]] = field(default_factory=list)
    _arrivals: count[int] = field(default_factory=count)

    def put(self, prompt: Prompt) -> None:
        heapq.heappush(self._waiting, (prompt.number, prompt.prompt_id, next(self._arrivals), prompt))
        self.changed()

    def start_next(self) -> Prompt | None:
        """The prompt that now runs; None if none waits."""
        if not self._waiting:
            return None
        self.running = heapq.heappop(self._waiting)[-1]
        self.changed()
        return self.running

    def finish(self, outcome: Outcome) -> None:
        """Move the running prompt to the history."""
        if self.running is None:
            raise RuntimeError("no prompt is running")
        prompt, self.running = self.running, None
        if len(self.history) > HISTORY_LIMIT:
            del self.history[next(iter(self.history))]
        self.history[prompt.prompt_id] = {
            "prompt": prompt.row,
            "outputs": outcome.outputs,
            "status": {
                "status_str": "success" if outcome.success else "error",
                "completed": outcome.success,
                "messages": [list(message) for message in outcome.messages],
            },
            "meta": outcome.meta,
        }
        self.changed()

    @property
    def waiting(self) -> list[Prompt]:
        """In heap order, which is not the order of execution."""
        return [entry[-1] for entry in self._waiting]

    @property
    def remaining(self) -> int:
        """Prompts that wait or run."""
        return len(self._waiting) + (self.running is not None)

    def delete(self, prompt_id: str) -> bool:
        """Take one waiting prompt of that id out; whether there was one."""
        for index, entry in enumerate(self._waiting):
            if entry[1] == prompt_id:
                del self._waiting[index]
                heapq.heapify(self._waiting)
                self.changed()
                return True
        return False

    def clear(self) -> None:
        self._waiting = []
        self.changed()

    def recent(self, max_items: int | None = None, offset: int | None = None) -> dict[str, Any]:
        """Finished prompts, oldest first; `max_items` without an offset takes the newest."""
        if offset is None or offset < 0:
            offset = len(self.history) - max_items if max_items is not None else 0
        stop = None if max_items is None else max(0, offset) + max_items
        return dict(islice(self.history.items(), max(0, offset), stop))

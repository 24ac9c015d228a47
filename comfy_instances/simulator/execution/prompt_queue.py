"""What waits, what runs and what became of it: an instance's prompts, in memory only."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

#: Finished prompts that are remembered; the oldest go first.
HISTORY_LIMIT = 10_000

PromptMessage = tuple[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuedPrompt:
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
class PromptResult:
    """How a prompt ended."""

    #: Output node -> key (`images`, `text`, ...) -> items.
    outputs: dict[str, Any]
    #: Output node -> its ids.
    meta: dict[str, Any]
    success: bool
    #: Those of its websocket messages that tell its course.
    messages: list[PromptMessage]


@dataclass(slots=True)
class PromptQueue:
    """Prompts by number; `on_change` is called whenever the number of open ones may have changed."""

    on_change: Callable[[], None]
    running: QueuedPrompt | None = None
    history: dict[str, dict[str, Any]] = field(default_factory=dict)
    _pending: list[tuple[float, str, int, QueuedPrompt]] = field(default_factory=list)
    _arrival_counter: count[int] = field(default_factory=count)

    def put(self, prompt: QueuedPrompt) -> None:
        heapq.heappush(self._pending, (prompt.number, prompt.prompt_id, next(self._arrival_counter), prompt))
        self.on_change()

    def start_next(self) -> QueuedPrompt | None:
        """The prompt that now runs; None if none waits."""
        if not self._pending:
            return None
        self.running = heapq.heappop(self._pending)[-1]
        self.on_change()
        return self.running

    def finish(self, result: PromptResult) -> None:
        """Move the running prompt to the history."""
        if self.running is None:
            raise RuntimeError("no prompt is running")
        prompt, self.running = self.running, None
        if len(self.history) > HISTORY_LIMIT:
            del self.history[next(iter(self.history))]
        self.history[prompt.prompt_id] = {
            "prompt": prompt.row,
            "outputs": result.outputs,
            "status": {
                "status_str": "success" if result.success else "error",
                "completed": result.success,
                "messages": [list(message) for message in result.messages],
            },
            "meta": result.meta,
        }
        self.on_change()

    @property
    def pending(self) -> list[QueuedPrompt]:
        """In heap order, which is not the order of execution."""
        return [entry[-1] for entry in self._pending]

    @property
    def remaining(self) -> int:
        """Prompts that wait or run."""
        return len(self._pending) + (self.running is not None)

    def delete(self, prompt_id: str) -> bool:
        """Take one waiting prompt of that id out; whether there was one."""
        for index, entry in enumerate(self._pending):
            if entry[1] == prompt_id:
                del self._pending[index]
                heapq.heapify(self._pending)
                self.on_change()
                return True
        return False

    def clear(self) -> None:
        self._pending = []
        self.on_change()

    def list_history(self, max_items: int | None = None, offset: int | None = None) -> dict[str, Any]:
        """Finished prompts, oldest first; `max_items` without an offset takes the newest."""
        if offset is None or offset < 0:
            offset = len(self.history) - max_items if max_items is not None else 0
        stop = None if max_items is None else max(0, offset) + max_items
        return dict(islice(self.history.items(), max(0, offset), stop))

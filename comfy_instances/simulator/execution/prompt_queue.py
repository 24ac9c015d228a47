"""The pending, running and finished prompts of an instance, in memory only."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

#: Maximum number of finished prompts in the history; the oldest are removed first.
HISTORY_LIMIT = 10_000

PromptMessage = tuple[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuedPrompt:
    """An accepted graph."""

    #: The lowest number runs first; it increases per prompt, and is negative for prompts queued at the front.
    number: float
    prompt_id: str
    graph: dict[str, Any]
    #: `client_id`, `create_time` in milliseconds and the `extra_data` of the request.
    extra_data: dict[str, Any]
    #: Output nodes to execute.
    outputs: list[str]

    @property
    def row(self) -> list[Any]:
        """Return the row of this prompt in `/queue` and `/history`."""
        return [self.number, self.prompt_id, self.graph, self.extra_data, self.outputs]

    @property
    def client_id(self) -> str | None:
        return self.extra_data.get("client_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptResult:
    """The result of a prompt."""

    #: Output node -> key (`images`, `text`, ...) -> items.
    outputs: dict[str, Any]
    #: Output node -> its ids in messages.
    meta: dict[str, Any]
    success: bool
    #: The websocket messages that the history keeps.
    messages: list[PromptMessage]


@dataclass(slots=True)
class PromptQueue:
    """Prompts by number. `on_change` is called when the number of unfinished prompts may have changed."""

    on_change: Callable[[], None]
    running: QueuedPrompt | None = None
    history: dict[str, dict[str, Any]] = field(default_factory=dict)
    _pending: list[tuple[float, str, int, QueuedPrompt]] = field(default_factory=list)
    _arrival_counter: count[int] = field(default_factory=count)

    def put(self, prompt: QueuedPrompt) -> None:
        heapq.heappush(self._pending, (prompt.number, prompt.prompt_id, next(self._arrival_counter), prompt))
        self.on_change()

    def start_next(self) -> QueuedPrompt | None:
        """Start the next pending prompt and return it; None if none is pending."""
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
        """Return the pending prompts in heap order, which is not the order of execution."""
        return [entry[-1] for entry in self._pending]

    @property
    def remaining(self) -> int:
        """Return the number of pending and running prompts."""
        return len(self._pending) + (self.running is not None)

    def delete(self, prompt_id: str) -> bool:
        """Remove a pending prompt with that id. Return whether there was one."""
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
        """Return finished prompts, oldest first; `max_items` without an offset selects the newest."""
        if offset is None or offset < 0:
            offset = len(self.history) - max_items if max_items is not None else 0
        stop = None if max_items is None else max(0, offset) + max_items
        return dict(islice(self.history.items(), max(0, offset), stop))

"""A run that gets nowhere: no word of progress for longer than its model ever needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, TypeVar

from comfy_instances.protocol.errors import PromptStalled

T = TypeVar("T")


class Watchdog:
    """Guards one run. Its time begins with the first sign that the run has begun, and again with each."""

    def __init__(self, timeout: float, clock: Callable[[], float] = monotonic) -> None:
        """`patience` in seconds."""
        self._timeout = timeout
        self._clock = clock
        self._last_progress: float | None = None

    def record_progress(self) -> None:
        self._last_progress = self._clock()

    async def guard(self, run: Coroutine[Any, Any, T]) -> T:
        """The result of `run`. Raises PromptStalled, having cancelled it, when it has been silent too
        long.
        """
        task = asyncio.create_task(run)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=self._timeout / 4)
                if not task.done() and self._seconds_since_progress() > self._timeout:
                    raise PromptStalled(f"no progress for {self._timeout:g} s")
            return task.result()
        finally:
            task.cancel()

    def _seconds_since_progress(self) -> float:
        return 0.0 if self._last_progress is None else self._clock() - self._last_progress

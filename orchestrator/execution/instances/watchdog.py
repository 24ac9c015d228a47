"""Detects runs that make no progress for longer than their model can need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, TypeVar

from comfy_instances.protocol.errors import PromptStalled
from comfy_instances.tasks import spawn
from orchestrator.execution.failures import RunTooLong

T = TypeVar("T")


class Watchdog:
    """Watches one run. The timeout starts with the first progress event and again with each further one."""

    def __init__(
        self, timeout: float, clock: Callable[[], float] = monotonic, *, limit: float | None = None
    ) -> None:
        """`timeout` is the longest time without progress, `limit` that of the whole run, in seconds."""
        self._timeout = timeout
        self._limit = limit
        self._clock = clock
        self._started: float | None = None
        self._last_progress: float | None = None

    def record_progress(self) -> None:
        """Start the timeout again."""
        self._last_progress = self._clock()
        self._started = self._last_progress if self._started is None else self._started

    async def guard(self, run: Coroutine[Any, Any, T]) -> T:
        """Return the result of `run`. Cancels it and raises PromptStalled after the timeout.

        Raises RunTooLong after the limit.
        """
        task = spawn(run, "prompt", awaited=True)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=min(self._timeout / 4, (self._limit or self._timeout) / 8))
                if not task.done() and self._limit and self._seconds_since(self._started) > self._limit:
                    raise RunTooLong(f"the graph ran for longer than {self._limit:g} s; see `max_seconds`")
                if not task.done() and self._seconds_since(self._last_progress) > self._timeout:
                    raise PromptStalled(f"no progress for {self._timeout:g} s")
            return task.result()
        finally:
            task.cancel()

    def _seconds_since(self, moment: float | None) -> float:
        return 0.0 if moment is None else self._clock() - moment

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

    def __init__(self, patience: float, clock: Callable[[], float] = monotonic) -> None:
        """`patience` in seconds."""
        self._patience = patience
        self._clock = clock
        self._heard: float | None = None

    def heard(self) -> None:
        self._heard = self._clock()

    async def guard(self, run: Coroutine[Any, Any, T]) -> T:
        """The result of `run`. Raises PromptStalled, having cancelled it, when it has been silent too
        long.
        """
        task = asyncio.create_task(run)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=self._patience / 4)
                if not task.done() and self._silence() > self._patience:
                    raise PromptStalled(f"no progress for {self._patience:g} s")
            return task.result()
        finally:
            task.cancel()

    def _silence(self) -> float:
        return 0.0 if self._heard is None else self._clock() - self._heard

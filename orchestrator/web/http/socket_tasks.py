"""The tasks of an open websocket, which end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from comfy_instances.tasks import spawn


class SocketTasks:
    """Starts tasks whose failures are reported, and ends them together."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None], kind: str) -> None:
        """Start a task; `kind` names it in logs and metrics."""
        spawn(coroutine, kind, group=self._tasks)

    def cancel(self) -> None:
        """End all tasks."""
        for task in self._tasks:
            task.cancel()

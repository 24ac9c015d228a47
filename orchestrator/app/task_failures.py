"""Turns the failures of background tasks into log lines and events, as long as a service runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from comfy_instances.tasks import task_kind
from orchestrator.jobs.events import EventHub, TaskFailed

log = logging.getLogger(__name__)


@contextmanager
def observe_task_failures(events: EventHub) -> Iterator[None]:
    """Handle the errors that reach the running event loop, also those of tasks that were not awaited."""
    loop = asyncio.get_running_loop()
    previous = loop.get_exception_handler()

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error: BaseException | None = context.get("exception")
        task = context.get("task") or context.get("future")
        name = context.get("task_name") or (task.get_name() if isinstance(task, asyncio.Task) else "Task-")
        log.error(
            "%s", context["message"], exc_info=error, extra={"action": "task_failed", "task_name": name}
        )
        events.notify_observers(TaskFailed(kind=task_kind(name), error=repr(error)))

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(previous)

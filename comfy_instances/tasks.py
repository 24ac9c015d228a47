"""Helpers for asyncio tasks: the loop's clock, and a log line for a background task that crashes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)


def loop_time() -> float:
    """Return the monotonic clock of the running event loop, in seconds."""
    return asyncio.get_running_loop().time()


def log_crash(task: asyncio.Task[Any]) -> None:
    """Log the exception of a background task. Use it as a done callback."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background task %s crashed", task.get_name(), exc_info=error)

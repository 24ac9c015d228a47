"""Waiting for what comes about elsewhere: in another process, thread or task.

Every wait has a time limit and, when it runs out, fails with the last value that was read. Limits are
generous: they bound a test that has failed, and a machine under load must not reach them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0
#: Reads are often requests, which cost the service some milliseconds each: pauses grow while a wait takes.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, PAUSE_GROWTH = 0.02, 0.2, 1.3


async def poll(
    read: Callable[[], Awaitable[T]],
    until: Callable[[T], bool] = bool,
    *,
    seconds: float = TIMEOUT_SECONDS,
    interval: float | None = None,
) -> T:
    """Read again and again until `until` holds for the value, and return that value.

    `interval` is the pause between two reads in seconds, where growing pauses would miss what comes and goes.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS if interval is None else interval
    while not until(value := await read()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s; the last value was {value!r}"
        await asyncio.sleep(pause)
        if interval is None:
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)
    return value


async def wait_until(condition: Callable[[], bool], seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait until a condition of this process holds."""

    async def holds() -> bool:
        return condition()

    await poll(holds, seconds=seconds, interval=0.02)


def wait_until_sync(condition: Callable[[], bool], seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait until a condition holds, where no event loop runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.03)

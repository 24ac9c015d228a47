"""Repeat an operation while object storage is unavailable."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import TypeVar

from comfy_instances.backoff import backoff_delay
from orchestrator.media.errors import ObjectStoreUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

_FIRST_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 0.2, 10.0


async def retry_while_unavailable(
    operation: Callable[[], Awaitable[T]], description: str, timeout: float
) -> T:
    """Return what the operation returns, repeating it with growing pauses for up to `timeout` seconds.

    Raises ObjectStoreUnavailable after the timeout, and other errors at once.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number, delay in enumerate(_backoff_delays()):
        try:
            result = await operation()
        except ObjectStoreUnavailable as error:
            if loop.time() - started + delay > timeout:
                raise
            level = logging.DEBUG if number else logging.WARNING
            log.log(level, "object storage is unavailable, retrying %s: %s", description, error)
        else:
            if number:
                log.info("%s: succeeded after %.1f s of retries", description, loop.time() - started)
            return result
        await asyncio.sleep(delay)
    raise AssertionError("the pauses have no end")


def _backoff_delays() -> Iterator[float]:
    """Yield exponentially growing seconds up to a maximum, with jitter to spread the retries of uploads."""
    for failures in count(1):
        delay = backoff_delay(failures, _FIRST_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS)
        yield delay * random.uniform(0.8, 1.2)

"""Calls of the store that must not be lost: repeated until it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from comfy_instances.backoff import backoff_delay
from orchestrator.errors import ServiceUnavailable

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Pause between two tries, in seconds: the first one and the longest.
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 5.0
#: Interval at which a call that is still retried is logged, in seconds.
LOG_INTERVAL_SECONDS = 60.0


async def until_store_answers(
    call: Callable[[], Awaitable[T]], operation: str, on_retry: Callable[[str], None] = lambda _: None
) -> T:
    """Return the result of `call`, which is repeated while the store is unavailable.

    `call` must change nothing when it is repeated. `on_retry(operation)` is called before each repetition.
    Raises what `call` raises, except ServiceUnavailable.
    """
    failures, logged_at = 0, float("-inf")
    while True:
        try:
            result = await call()
        except ServiceUnavailable as error:
            failures += 1
            if monotonic() - logged_at >= LOG_INTERVAL_SECONDS:
                log.warning("the store does not take %s, which is tried again: %s", operation, error)
                logged_at = monotonic()
        else:
            if failures:
                log.info("the store took %s after %d failed tries", operation, failures)
            return result
        on_retry(operation)
        await asyncio.sleep(backoff_delay(failures, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS))

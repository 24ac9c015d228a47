"""Rejects requests that no instance can start soon enough, before their price is held."""

from __future__ import annotations

import math
from time import monotonic

from orchestrator.errors import ServiceUnavailable
from orchestrator.execution.dispatcher import Dispatcher


def check_capacity(dispatcher: Dispatcher, account_id: str, model: str, max_wait: float) -> None:
    """Check that a request can start within `max_wait` seconds. Raises ServiceUnavailable."""
    scheduler = dispatcher.scheduler
    now = monotonic()
    wait = scheduler.expected_wait_seconds(account_id, now)
    if wait == float("inf") or dispatcher.is_stopping:
        raise ServiceUnavailable(
            "No GPU server is available; retry later", code="no_instances", retry_after=5
        )
    if not scheduler.expects_to_serve(model, now):
        raise ServiceUnavailable(
            f"No GPU server can run model {model} at present; retry later",
            code="model_unavailable",
            retry_after=60,
        )
    if wait > max_wait:
        raise ServiceUnavailable(
            f"All GPU servers are busy for about {wait:.0f} s, longer than {max_wait:.0f} s; retry later",
            code="busy",
            retry_after=math.ceil(wait - max_wait),
        )

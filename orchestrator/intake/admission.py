"""Whether there is room for a request: asked before anything is held for it."""

from __future__ import annotations

import math
from time import monotonic

from orchestrator.errors import ServiceUnavailable
from orchestrator.execution.dispatcher import Dispatcher


def check_capacity(dispatcher: Dispatcher, account_id: str, model: str, max_wait: float) -> None:
    """Refuses what could not begin within `max_wait_seconds` seconds. Raises ServiceUnavailable."""
    scheduler = dispatcher.scheduler
    wait = scheduler.expected_wait_seconds(account_id, monotonic())
    if wait == float("inf") or dispatcher.is_stopping:
        raise ServiceUnavailable("No GPU servers available", code="no_instances", retry_after=5)
    if not scheduler.can_serve(model):
        raise ServiceUnavailable(
            f"No GPU server has what {model} needs", code="model_unavailable", retry_after=60
        )
    if wait > max_wait:
        raise ServiceUnavailable(
            f"All GPU servers are busy for about {wait:.0f} s",
            code="busy",
            retry_after=math.ceil(wait - max_wait),
        )

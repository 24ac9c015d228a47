"""Rejects requests that no instance can start soon enough, before their price is held."""

from __future__ import annotations

import math

from orchestrator.errors import ServiceUnavailable
from orchestrator.execution.instances.capacity import Capacity


def check_capacity(capacity: Capacity, model: str, max_wait: float) -> None:
    """Check that a request can start within `max_wait` seconds. Raises ServiceUnavailable."""
    wait = capacity.wait_seconds
    if wait is None:
        raise ServiceUnavailable(
            "No GPU server is available; retry later", code="no_instances", retry_after=5
        )
    if not capacity.serves_model:
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

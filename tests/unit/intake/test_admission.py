"""Requests that no instance can start soon enough are refused before they cost anything, with the reason."""

from __future__ import annotations

import pytest

from orchestrator.errors import ServiceUnavailable
from orchestrator.execution.instances.capacity import NO_CAPACITY, Capacity
from orchestrator.intake.admission import check_capacity


@pytest.mark.parametrize(
    ("capacity", "code", "message", "retry_after"),
    [
        (NO_CAPACITY, "no_instances", "No GPU server is available", 5),
        (
            Capacity(0.0, serves_model=False),
            "model_unavailable",
            "No GPU server can run model gpt-image-1 at present",
            60,
        ),
        (Capacity(100.5, serves_model=True), "busy", "busy for about 100 s, longer than 60 s", 41),
    ],
)
def test_refuses_what_cannot_start_soon_with_the_reason(
    capacity: Capacity, code: str, message: str, retry_after: int
) -> None:
    with pytest.raises(ServiceUnavailable) as refused:
        check_capacity(capacity, "gpt-image-1", 60)
    assert (refused.value.code, refused.value.retry_after) == (code, retry_after)
    assert message in refused.value.message


def test_accepts_what_starts_in_time() -> None:
    check_capacity(Capacity(60.0, serves_model=True), "gpt-image-1", 60)

"""The clock that all processes of an installation share."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.app.shared_clock import SharedClock
from orchestrator.errors import ServiceUnavailable


def difference(clock: SharedClock) -> float:
    return (clock.now() - datetime.now(UTC)).total_seconds()


def read(clock: SharedClock, ahead: float, took: float = 0.002) -> None:
    """Compare with a database whose clock is `ahead` by some seconds."""
    before = datetime.now(UTC)
    taken = timedelta(seconds=took)
    clock.compare(before, before + taken / 2 + timedelta(seconds=ahead), before + taken)


@pytest.mark.parametrize("ahead", [60.0, -60.0, 0.5])
def test_follows_the_database(ahead: float) -> None:
    clock = SharedClock()
    read(clock, ahead)
    assert difference(clock) == pytest.approx(ahead, abs=0.1)
    read(clock, 0)
    assert difference(clock) == pytest.approx(0, abs=0.1)


def test_a_slow_answer_that_may_agree_changes_nothing() -> None:
    clock = SharedClock()
    read(clock, 10)
    read(clock, 8, took=5.0)
    assert difference(clock) == pytest.approx(10, abs=0.1)


def test_names_a_difference_that_operators_should_know_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = SharedClock()
    read(clock, -0.5)
    assert not caplog.messages
    for _ in range(2):
        read(clock, 60)
    (message,) = caplog.messages
    assert "60.0 s behind" in message


async def test_goes_on_while_the_database_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> tuple[datetime, datetime, datetime]:
        raise ServiceUnavailable("gone", code="store_unavailable")

    caplog.set_level(logging.INFO)
    clock = SharedClock()
    async with clock.following(fail):
        assert difference(clock) == pytest.approx(0, abs=0.1)
    assert "cannot be read" in caplog.text

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pricing.alerts import Alert, AlertMetric

FIRST, SECOND, APRIL = (datetime(2026, month, day, tzinfo=UTC) for month, day in ((3, 1), (3, 2), (4, 1)))


def alert(watched: AlertMetric) -> Alert:
    return Alert(id="x", account_id="a", watched=watched, threshold=100, url=None, created_at=FIRST)


@pytest.mark.parametrize(
    ("watched", "story"),
    [
        (
            AlertMetric.BALANCE,
            [(100, FIRST, 0), (99, FIRST, 1), (5, SECOND, 0), (100, APRIL, 0), (0, APRIL, 1)],
        ),
        (
            AlertMetric.DAY,
            [(99, FIRST, 0), (100, FIRST, 1), (500, FIRST, 0), (0, SECOND, 0), (100, SECOND, 1)],
        ),
        (AlertMetric.MONTH, [(100, FIRST, 1), (200, SECOND, 0), (50, APRIL, 0), (100, APRIL, 1)]),
    ],
)
def test_an_alert_fires_once_per_crossing(
    watched: AlertMetric, story: list[tuple[int, datetime, int]]
) -> None:
    state = alert(watched)
    for micros, now, expected in story:
        state, fires = state.evaluate(micros, now)
        assert fires == bool(expected), (micros, now)


@pytest.mark.parametrize(
    ("watched", "stands"),
    [
        (AlertMetric.BALANCE, (True, True, True)),
        (AlertMetric.DAY, (True, False, False)),
        (AlertMetric.MONTH, (True, True, False)),
    ],
)
def test_an_alert_stands_fired_for_its_period(watched: AlertMetric, stands: tuple[bool, ...]) -> None:
    """Also while no money moves, which would have it looked at."""
    fresh = alert(watched)
    assert not fresh.has_fired(FIRST)
    fired, _ = fresh.evaluate(0 if watched is AlertMetric.BALANCE else 100, FIRST)
    assert tuple(fired.has_fired(now) for now in (FIRST, SECOND, APRIL)) == stands

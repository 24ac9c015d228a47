from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pricing.alerts import Alert, Watched

FIRST, SECOND, APRIL = (datetime(2026, month, day, tzinfo=UTC) for month, day in ((3, 1), (3, 2), (4, 1)))


def alert(watched: Watched) -> Alert:
    return Alert(id="x", account_id="a", watched=watched, threshold=100, url=None, created_at=FIRST)


@pytest.mark.parametrize(
    ("watched", "story"),
    [
        (Watched.BALANCE, [(100, FIRST, 0), (99, FIRST, 1), (5, SECOND, 0), (100, APRIL, 0), (0, APRIL, 1)]),
        (Watched.DAY, [(99, FIRST, 0), (100, FIRST, 1), (500, FIRST, 0), (0, SECOND, 0), (100, SECOND, 1)]),
        (Watched.MONTH, [(100, FIRST, 1), (200, SECOND, 0), (50, APRIL, 0), (100, APRIL, 1)]),
    ],
)
def test_an_alert_fires_once_per_crossing(watched: Watched, story: list[tuple[int, datetime, int]]) -> None:
    state = alert(watched)
    for micros, now, expected in story:
        state, fires = state.read(micros, now)
        assert fires == bool(expected), (micros, now)


@pytest.mark.parametrize(
    ("watched", "stands"),
    [
        (Watched.BALANCE, (True, True, True)),
        (Watched.DAY, (True, False, False)),
        (Watched.MONTH, (True, True, False)),
    ],
)
def test_an_alert_stands_fired_for_its_period(watched: Watched, stands: tuple[bool, ...]) -> None:
    """Also while no money moves, which would have it looked at."""
    fresh = alert(watched)
    assert not fresh.standing(FIRST)
    fired, _ = fresh.read(0 if watched is Watched.BALANCE else 100, FIRST)
    assert tuple(fired.standing(now) for now in (FIRST, SECOND, APRIL)) == stands

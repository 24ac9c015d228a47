"""The restart policy, told as histories: what happened, and what is decided then."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_instances.process.restart_policy import (
    CircuitOpen,
    Decision,
    HealthSample,
    Restart,
    RestartPolicy,
    Start,
    SupervisionHistory,
    Wait,
    decide,
    is_over_memory_limit,
    restart_backoff,
)

RULES = RestartPolicy(
    startup_seconds=120,
    probe_seconds=5,
    hang_timeout_seconds=60,
    stuck_timeout_seconds=30,
    backoff_seconds=1,
    backoff_max_seconds=60,
    stable_seconds=120,
    failures_allowed=3,
    cooldown_seconds=300,
    memory_limit=1000,
    idle_seconds=10,
)
IDLE = HealthSample(running=0, waiting=0, memory=100)
BUSY = HealthSample(running=1, waiting=1, memory=100)
STUCK = HealthSample(running=0, waiting=2, memory=100)
BIG_IDLE = HealthSample(running=0, waiting=0, memory=2000)
BIG_BUSY = HealthSample(running=1, waiting=0, memory=2000)

Event = Callable[[SupervisionHistory, float], SupervisionHistory]


def started(history: SupervisionHistory, now: float) -> SupervisionHistory:
    return history.after_start(now)


def silent(history: SupervisionHistory, now: float) -> SupervisionHistory:
    return history.after_missed_probe(now)


def died(history: SupervisionHistory, now: float) -> SupervisionHistory:
    return history.after_crash(now, "killed by SIGKILL", RULES)


def stopped(history: SupervisionHistory, now: float) -> SupervisionHistory:
    return history.after_stop(now, "by wish")


def says(health: HealthSample) -> Event:
    return lambda history, now: history.after_response(now, health)


THREE_DEATHS: list[tuple[float, Event]] = [
    (0, started),
    (5, died),
    (6, started),
    (10, died),
    (12, started),
    (15, died),
]
TWO_LONG_RUNS: list[tuple[float, Event]] = [
    (0, started),
    (5, says(IDLE)),
    (200, died),
    (201, started),
    (205, says(IDLE)),
    (900, died),
]
HISTORIES: dict[str, tuple[list[tuple[float, Event]], float, Decision]] = {
    "never run": ([], 0, Start()),
    "starting": ([(0, started)], 10, Wait(120)),
    "never gets ready": (
        [(0, started)],
        120,
        Restart("did not respond within 120 s after its start"),
    ),
    "well": ([(0, started), (8, says(IDLE))], 9, Wait(14)),
    "busy for hours": ([(0, started), (8, says(BUSY)), (9000, says(BUSY))], 9001, Wait(9006)),
    "died once": ([(0, started), (8, says(BUSY)), (20, died)], 20.5, Wait(21)),
    "died once, a second ago": ([(0, started), (8, says(BUSY)), (20, died)], 21, Start()),
    "died twice": ([(0, started), (5, died), (6, started), (10, died)], 11, Wait(12)),
    "died three times": (
        THREE_DEATHS,
        16,
        CircuitOpen(315, "ended 3 times in a row, last: killed by SIGKILL"),
    ),
    "died three times, long ago": (THREE_DEATHS, 315, Start()),
    "died once more after the pause": (
        [*THREE_DEATHS, (315, started), (320, died)],
        330,
        CircuitOpen(620, "ended 4 times in a row, last: killed by SIGKILL"),
    ),
    "deaths long apart": (
        [*TWO_LONG_RUNS, (901, started), (905, says(IDLE)), (2000, died)],
        2001,
        Start(),
    ),
    "stopped by wish after deaths": (
        [(0, started), (5, died), (6, started), (10, died), (12, started), (14, stopped)],
        14,
        Start(),
    ),
    "silent, not long enough": (
        [(0, started), (8, says(BUSY)), (13, silent), (18, silent), (23, silent)],
        60,
        Wait(65),
    ),
    "hung": (
        [(0, started), (8, says(BUSY)), (13, silent), (18, silent), (23, silent)],
        73,
        Restart("hung: no response for 60 s"),
    ),
    "one question lost over a long sleep of ours": (
        [(0, started), (8, says(BUSY)), (13, silent)],
        5000,
        Wait(5005),
    ),
    "silent, then well again": (
        [(0, started), (8, says(BUSY)), (13, silent), (18, silent), (70, says(BUSY)), (75, silent)],
        76,
        Wait(81),
    ),
    "work waits, nothing runs": (
        [(0, started), (8, says(IDLE)), (13, says(STUCK)), (43, says(STUCK))],
        43,
        Restart("stuck: prompts have waited for 30 s and none runs"),
    ),
    "seen between two prompts": (
        [(0, started), (8, says(STUCK)), (13, says(BUSY)), (43, says(STUCK))],
        44,
        Wait(49),
    ),
    "grown, but at work": ([(0, started), (8, says(BIG_BUSY)), (60, says(BIG_BUSY))], 61, Wait(66)),
    "grown, and idle": (
        [(0, started), (8, says(BIG_BUSY)), (20, says(BIG_IDLE)), (30, says(BIG_IDLE))],
        30,
        Restart("restarted to free memory: 2000 resident bytes", planned=True),
    ),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_decision(name: str) -> None:
    events, now, expected = HISTORIES[name]
    assert decide(replay(events), now, RULES) == expected


def replay(events: list[tuple[float, Event]]) -> SupervisionHistory:
    history = SupervisionHistory()
    for at, event in events:
        history = event(history, at)
    return history


def test_pauses_double_up_to_the_limit() -> None:
    assert [restart_backoff(n, RULES) for n in (1, 2, 3, 6, 7, 8, 1000)] == [1, 2, 4, 32, 60, 60, 60]


def test_restarts_are_counted_over_all_runs() -> None:
    history = replay([(0, started), (1, died), (3, started), (4, stopped), (5, started)])
    assert history.restarts == 2


def test_worn_only_above_a_limit() -> None:
    history = replay([(0, started), (8, says(BIG_IDLE))])
    assert is_over_memory_limit(history, RULES)
    assert not is_over_memory_limit(history, RestartPolicy())


@given(
    st.lists(
        st.tuples(
            st.floats(0.01, 400),
            st.sampled_from([started, silent, died, stopped, says(IDLE), says(STUCK), says(BIG_IDLE)]),
        ),
        max_size=30,
    )
)
def test_every_wait_ends(steps: list[tuple[float, Event]]) -> None:
    """Whatever happened, the policy either acts now or names a later moment, never one that has passed."""
    now, history = 0.0, SupervisionHistory()
    for seconds, event in steps:
        now += seconds
        running = history.started_at is not None
        if (event is started) == running:
            continue  # only an absent instance starts, only a running one does anything else
        history = event(history, now)
        decision = decide(history, now, RULES)
        if isinstance(decision, Wait | CircuitOpen):
            assert decision.until > now
        assert isinstance(decision, Start) <= (history.started_at is None)
        assert isinstance(decision, Restart | CircuitOpen) <= (history.runs > 0)

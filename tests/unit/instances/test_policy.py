"""The restart policy, told as histories: what happened, and what is decided then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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
    is_draining,
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


def test_an_outdated_instance_drains_and_is_restarted_once_idle() -> None:
    history = replay([(0, started), (8, says(BUSY))])
    assert not is_draining(history, RULES)
    outdated = replace(history, outdated=True)
    assert is_draining(outdated, RULES)
    assert isinstance(decide(outdated, 60, RULES), Wait)
    idle = outdated.after_response(60, IDLE)
    assert isinstance(decide(idle, 61, RULES), Wait)
    assert decide(idle, 62, RULES) == Restart("restarted to load changed node packs", planned=True)
    assert not started(idle, 70).outdated


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


def test_an_end_under_a_prompt_does_not_open_the_circuit() -> None:
    history = SupervisionHistory()
    for now in range(0, 50, 10):
        history = history.after_start(now).after_response(now + 1, BUSY)
        history = history.after_crash(now + 2, "exited with status 1", RULES, under_prompt=True)
        assert decide(history, now + 2, RULES) == Start()
    assert history.failures == 0


def test_an_end_counts_once_its_prompt_has_proved_not_to_be_the_cause() -> None:
    history = SupervisionHistory()
    for now in range(0, 30, 10):
        history = history.after_start(now).after_response(now + 1, BUSY)
        history = history.after_crash(now + 2, "exited with status 1", RULES, under_prompt=True)
        history = history.after_start(now + 3).after_response(now + 4, IDLE).after_blame(now + 5, RULES)
    assert history.failures == RULES.failures_allowed
    ended = history.after_crash(40, "exited with status 1", RULES, under_prompt=True)
    assert isinstance(decide(ended, 41, RULES), CircuitOpen)


def test_an_old_end_is_not_held_against_an_instance_that_is_stable_since() -> None:
    history = SupervisionHistory().after_start(0).after_response(1, IDLE)
    assert history.after_blame(1 + RULES.stable_seconds, RULES).failures == 0


def test_a_prevented_start_is_repeated_with_a_growing_pause_and_never_opens_the_circuit() -> None:
    history, now, pauses = SupervisionHistory(), 0.0, []
    for _ in range(50):
        history = history.after_start(now).after_prevented_start(now, "too many open files")
        decision = decide(history, now, RULES)
        assert isinstance(decision, Wait)
        pauses.append(decision.until - now)
        now = decision.until
        assert decide(history, now, RULES) == Start()
    assert pauses[:3] == [1, 2, 4]
    assert max(pauses) == RULES.shortage_backoff_max_seconds
    assert history.failures == 0
    answered = history.after_start(now).after_response(now, IDLE)
    assert answered.shortages == 0


def test_time_without_resources_to_probe_is_no_silence_of_the_instance() -> None:
    history = SupervisionHistory().after_start(0).after_response(1, BUSY)
    for now in range(5, 1000, 5):
        history = history.after_missed_probe(now).after_shortage(now + 1)
        assert isinstance(decide(history, now + 1, RULES), Wait)
    starting = SupervisionHistory().after_start(0).after_shortage(1000)
    assert isinstance(decide(starting, 1001, RULES), Wait)


def test_the_circuit_closes_for_one_try_after_a_time_and_opens_again_if_that_fails() -> None:
    history = SupervisionHistory()
    for now in range(3):
        history = history.after_start(now).after_crash(now, "exited with status 1", RULES)
    assert isinstance(decide(history, 3, RULES), CircuitOpen)
    later = 2 + RULES.cooldown_seconds
    assert decide(history, later, RULES) == Start()
    again = history.after_start(later).after_crash(later + 1, "exited with status 1", RULES)
    assert isinstance(decide(again, later + 2, RULES), CircuitOpen)
    recovered = history.after_start(later).after_response(later + 1, IDLE)
    assert isinstance(decide(recovered, later + 2, RULES), Wait)

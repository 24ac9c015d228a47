"""Busy share and idle gaps of an instance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.web.metrics.utilization import UtilizationTracker


def test_new_tracker_is_not_busy() -> None:
    clock = UtilizationTracker(0.0)
    assert clock.busy_ratio(0.0) == 0.0
    assert clock.busy_ratio(50.0) == 0.0


def test_back_to_back_runs_are_fully_busy_without_gap() -> None:
    clock = UtilizationTracker(0.0)
    clock.shard_assigned("a", 0.0)
    clock.shard_assigned("b", 0.0)
    assert clock.shard_succeeded("a", 10.0, 10.0, wait_seconds=0.0) is None
    clock.shard_assigned("c", 10.0)
    assert clock.shard_succeeded("b", 20.0, 10.0, wait_seconds=10.0) == 0.0
    assert clock.busy_ratio(20.0) == 1.0
    assert clock.busy_ratio(25.0) == 1.0, "c is under way"


def test_gap_counts_only_while_a_job_was_waiting() -> None:
    clock = UtilizationTracker(0.0)
    clock.shard_assigned("a", 0.0)
    clock.shard_succeeded("a", 10.0, 10.0, wait_seconds=0.0)
    clock.shard_assigned("b", 30.0)
    assert clock.shard_succeeded("b", 40.0, 9.5, wait_seconds=0.5) == 0.5, (
        "it was free for 20 s, but b came half a second ago"
    )
    clock.shard_assigned("c", 40.0)
    assert clock.shard_succeeded("c", 50.0, 9.0, wait_seconds=100.0) == 1.0


@pytest.mark.parametrize("why", ["away", "missed"])
def test_failure_or_downtime_between_runs_is_not_a_gap(why: str) -> None:
    clock = UtilizationTracker(0.0)
    clock.shard_assigned("a", 0.0)
    clock.shard_succeeded("a", 10.0, 10.0, wait_seconds=0.0)
    if why == "away":
        clock.reset_idle()
    else:
        clock.shard_assigned("lost", 10.0)
        clock.shard_failed("lost", 20.0)
    clock.shard_assigned("b", 30.0)
    assert clock.shard_succeeded("b", 40.0, 10.0, wait_seconds=30.0) is None


def test_failed_run_counts_as_busy_but_failed_waiting_shard_does_not() -> None:
    clock = UtilizationTracker(0.0)
    clock.shard_assigned("runs", 0.0)
    clock.shard_assigned("waits", 0.0)
    clock.shard_failed("waits", 5.0)
    assert clock.busy_ratio(10.0) == 1.0
    clock.shard_failed("runs", 10.0)
    assert clock.busy_ratio(20.0) == 0.5
    clock.shard_failed("never given", 20.0)
    assert clock.busy_ratio(20.0) == 0.5


def test_runs_before_the_window_are_dropped() -> None:
    clock = UtilizationTracker(0.0, window_seconds=60.0)
    for second in range(0, 1000, 10):
        clock.shard_assigned(str(second), second)
        clock.shard_succeeded(str(second), second + 5.0, 5.0, wait_seconds=0.0)
    assert clock.busy_ratio(1000.0) == pytest.approx(0.5)
    assert clock.busy_ratio(1100.0) == 0.0


@given(
    st.lists(
        st.tuples(st.sampled_from(["given", "ran", "missed", "away"]), st.floats(0, 30), st.floats(0, 90)),
        max_size=60,
    )
)
def test_busy_ratio_stays_between_0_and_1_and_gaps_are_not_negative(
    told: list[tuple[str, float, float]],
) -> None:
    clock, now = UtilizationTracker(0.0), 0.0
    for number, (word, pause, seconds) in enumerate(told):
        now += pause
        match word:
            case "given":
                clock.shard_assigned(str(number), now)
            case "ran":
                gap = clock.shard_succeeded(str(number // 2), now, seconds, wait_seconds=pause)
                assert gap is None or 0.0 <= gap <= pause
            case "missed":
                clock.shard_failed(str(number // 2), now)
            case _:
                clock.reset_idle()
        assert 0.0 <= clock.busy_ratio(now) <= 1.0

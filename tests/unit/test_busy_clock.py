"""Busy share and idle gaps of an instance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.web.metrics.utilization import UtilizationTracker


def test_nothing_done_is_not_busy() -> None:
    clock = UtilizationTracker(0.0)
    assert clock.busy_ratio(0.0) == 0.0
    assert clock.busy_ratio(50.0) == 0.0


def test_back_to_back_is_busy_all_the_time_and_has_no_gap() -> None:
    clock = UtilizationTracker(0.0)
    clock.shard_assigned("a", 0.0)
    clock.shard_assigned("b", 0.0)
    assert clock.shard_succeeded("a", 10.0, 10.0, wait_seconds=0.0) is None
    clock.shard_assigned("c", 10.0)
    assert clock.shard_succeeded("b", 20.0, 10.0, wait_seconds=10.0) == 0.0
    assert clock.busy_ratio(20.0) == 1.0
    assert clock.busy_ratio(25.0) == 1.0, "c is under way"


def test_a_gap_counts_only_while_there_was_work() -> None:
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
def test_what_came_between_is_no_gap(why: str) -> None:
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


def test_a_missed_run_kept_it_busy_and_a_missed_waiting_shard_did_not() -> None:
    clock = UtilizationTracker(0.0)
    clock.shard_assigned("runs", 0.0)
    clock.shard_assigned("waits", 0.0)
    clock.shard_failed("waits", 5.0)
    assert clock.busy_ratio(10.0) == 1.0
    clock.shard_failed("runs", 10.0)
    assert clock.busy_ratio(20.0) == 0.5
    clock.shard_failed("never given", 20.0)
    assert clock.busy_ratio(20.0) == 0.5


def test_it_forgets_what_is_older_than_its_window() -> None:
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
def test_whatever_it_is_told_its_answers_are_shares_and_gaps(told: list[tuple[str, float, float]]) -> None:
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

"""Which jobs count as awaited by callers of API processes."""

from __future__ import annotations

from orchestrator.execution.live.waiting_callers import WaitingCallers


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_every_job_may_be_awaited_until_processes_had_time_to_connect() -> None:
    clock = Clock()
    callers = WaitingCallers(clock, grace=15)
    assert callers.may_await("job")
    clock.now += 15
    assert not callers.may_await("job")


def test_a_job_is_awaited_as_long_as_one_process_says_so() -> None:
    clock = Clock()
    callers = WaitingCallers(clock, grace=15)
    clock.now += 15
    callers.set_awaited("first", frozenset({"job", "other"}))
    callers.set_awaited("second", frozenset({"job"}))
    callers.set_awaited("first", frozenset({"other"}))
    assert callers.may_await("job")
    callers.set_awaited("second", frozenset())
    assert not callers.may_await("job")
    assert callers.may_await("other")


def test_a_lost_process_may_come_back_with_its_callers() -> None:
    clock = Clock()
    callers = WaitingCallers(clock, grace=15)
    clock.now += 15
    callers.set_awaited("process", frozenset({"job"}))
    callers.remove("process")
    assert callers.may_await("job")
    clock.now += 15
    assert not callers.may_await("job")


def test_a_lost_process_without_callers_changes_nothing() -> None:
    clock = Clock()
    callers = WaitingCallers(clock, grace=15)
    clock.now += 15
    callers.set_awaited("process", frozenset())
    callers.remove("process")
    assert not callers.may_await("job")

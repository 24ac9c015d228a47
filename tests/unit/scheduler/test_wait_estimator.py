"""Estimates of queue positions and remaining times; scheduling never depends on them."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from orchestrator.execution.scheduler import (
    Event,
    InstanceDown,
    InstanceUp,
    JobAdded,
    JobCancelled,
    RunEnded,
    Scheduler,
    ShardDone,
    ShardSpec,
    WaitEstimate,
)


def make_spec(
    shard: str, *, account: str = "a", model: str = "m", seconds: float = 10.0, load: float = 0
) -> ShardSpec:
    return ShardSpec(
        shard_id=shard,
        job_id=shard.partition("-")[0],
        account_id=account,
        model=model,
        run_seconds=seconds,
        load_seconds=load,
    )


def scheduler(*instances: str, models: frozenset[str] | None = None) -> Scheduler:
    made = Scheduler(max_attempts=3)
    for name in instances:
        made.handle(InstanceUp(instance_id=name, models=models), 0.0)
    return made


def add(to: Scheduler, *specs: ShardSpec, now: float = 0.0) -> None:
    to.handle(JobAdded(specs=specs), now)


def ended(to: Scheduler, shard: str, now: float, seconds: float) -> None:
    to.handle(RunEnded(shard_id=shard, instance_id="g0", seconds=seconds), now)
    to.handle(ShardDone(shard_id=shard), now)


def test_returns_none_for_an_unknown_job() -> None:
    assert scheduler("g0").estimate_job_wait("x", 0.0) is None


def test_gives_a_running_job_no_position_and_a_time() -> None:
    fleet = scheduler("g0")
    add(fleet, make_spec("x-0"))
    assert fleet.estimate_job_wait("x", 0.0) == WaitEstimate(shards_ahead=None, seconds=10)
    assert fleet.estimate_job_wait("x", 4.0) == WaitEstimate(shards_ahead=None, seconds=6)


def test_says_how_long_the_model_still_loads() -> None:
    fleet = scheduler("g0")
    add(fleet, make_spec("x-0", load=30), make_spec("x-1", load=30))
    for now, seconds in ((0.0, 30.0), (12.0, 18.0), (31.0, None)):
        estimate = fleet.estimate_job_wait("x", now)
        assert estimate is not None
        assert estimate.loading_seconds == seconds
    add(fleet, make_spec("y-0"), now=1.0)
    waiting = fleet.estimate_job_wait("y", 2.0)
    assert waiting is not None
    assert waiting.loading_seconds is None


def test_adds_the_running_shard_of_the_same_instance() -> None:
    fleet = scheduler("g0")
    add(fleet, make_spec("x-0"))
    add(fleet, make_spec("y-0", seconds=5))
    assert fleet.estimate_job_wait("y", 2.0) == WaitEstimate(shards_ahead=None, seconds=13)


def test_gives_waiting_jobs_their_queue_position() -> None:
    fleet = scheduler("g0")
    for name in "vwxyz":
        add(fleet, make_spec(f"{name}-0"))
    assert [fleet.estimate_job_wait(name, 0.0) for name in "xyz"] == [
        WaitEstimate(shards_ahead=0, seconds=30),
        WaitEstimate(shards_ahead=1, seconds=40),
        WaitEstimate(shards_ahead=2, seconds=50),
    ]
    ended(fleet, "v-0", 10.0, 10.0)
    assert fleet.estimate_job_wait("x", 10.0) == WaitEstimate(shards_ahead=None, seconds=20)
    assert fleet.estimate_job_wait("z", 10.0) == WaitEstimate(shards_ahead=1, seconds=40)


def test_orders_positions_by_fair_share() -> None:
    fleet = scheduler("g0")
    add(fleet, *[make_spec(f"many-{index}", account="greedy") for index in range(50)])
    add(fleet, make_spec("one-0", account="modest"))
    place = fleet.estimate_job_wait("one", 0.0)
    assert place is not None
    assert place.shards_ahead is not None
    assert place.shards_ahead < 5


def test_divides_the_waiting_time_by_the_number_of_instances() -> None:
    one, four = scheduler("g0"), scheduler("g0", "g1", "g2", "g3")
    for fleet in (one, four):
        add(fleet, *[make_spec(f"x-{index}") for index in range(16)])
    slow, quick = one.estimate_job_wait("x", 0.0), four.estimate_job_wait("x", 0.0)
    assert slow
    assert quick
    assert slow.seconds == 160
    assert quick.seconds is not None
    assert 40 <= quick.seconds <= 60


def test_uses_measured_run_times() -> None:
    fleet = scheduler("g0")
    add(fleet, *[make_spec(f"x-{index}") for index in range(3)])
    ended(fleet, "x-0", 2.0, 2.0)
    add(fleet, make_spec("y-0"), make_spec("y-1"), now=2.0)
    place = fleet.estimate_job_wait("y", 2.0)
    assert place
    assert place.seconds is not None
    assert place.seconds == pytest.approx(10 + 2 + 2 + 2), "assigned shards keep their estimate"


def test_adds_the_load_time() -> None:
    fleet = scheduler("g0")
    add(fleet, make_spec("x-0"), make_spec("x-1"), make_spec("x-2", model="cold", load=7))
    place = fleet.estimate_job_wait("x", 0.0)
    assert place
    assert place.seconds == 37


def test_gives_no_time_without_a_capable_instance() -> None:
    fleet = scheduler()
    add(fleet, make_spec("x-0"))
    assert fleet.estimate_job_wait("x", 0.0) == WaitEstimate(shards_ahead=0, seconds=None)
    other = scheduler("g0", models=frozenset({"m"}))
    add(other, make_spec("x-0"), make_spec("y-0", model="unserved"))
    assert other.estimate_job_wait("y", 0.0) == WaitEstimate(shards_ahead=0, seconds=None)
    other.handle(InstanceDown(instance_id="g0"), 1.0)
    add(other, make_spec("z-0"), now=1.0)
    place = other.estimate_job_wait("z", 1.0)
    assert place
    assert place.seconds is None


def test_estimating_does_not_change_the_scheduler() -> None:
    estimated, untouched = scheduler("g0", "g1"), scheduler("g0", "g1")
    for fleet in (estimated, untouched):
        add(fleet, *[make_spec(f"{name}-{index}") for name in "xyz" for index in range(4)])
    for name in "xyz":
        estimated.estimate_job_wait(name, 3.0)
    events: list[Event] = [RunEnded(shard_id="x-0", instance_id="g0", seconds=3.0), JobCancelled(job_id="y")]
    for event in events:
        assert estimated.handle(event, 3.0) == untouched.handle(event, 3.0)


def count_calls(waiting: int) -> int:
    """Return the calls of Python for estimates of 100 waiting jobs, while others come."""
    fleet = scheduler("g0")
    add(fleet, *(make_spec(f"job{number}-0") for number in range(waiting)))
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    assert fleet.estimate_job_wait(f"job{waiting - 1}", 0.0) is not None
    sys.setprofile(count)
    try:
        for number in range(100):
            add(fleet, make_spec(f"late{number}-0"))
            assert fleet.estimate_job_wait(f"job{waiting - 1 - number}", 0.001 * (number % 10)) is not None
    finally:
        sys.setprofile(None)
    late = fleet.estimate_job_wait("late99", 0.0)
    assert late is not None
    assert late.shards_ahead == pytest.approx(waiting + 98, abs=101)
    return calls


def test_an_estimate_costs_no_more_in_a_long_queue() -> None:
    assert count_calls(10_000) <= 1.5 * count_calls(1_000)

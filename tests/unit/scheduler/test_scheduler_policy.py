"""What the scheduler decides, told as short stories. No loop, no sleep, no clock but the one given."""

from __future__ import annotations

from orchestrator.execution.scheduler import (
    CancelShard,
    FailJob,
    FreeMemory,
    InstanceDown,
    InstanceUp,
    Instruction,
    JobAdded,
    JobCancelled,
    RunEnded,
    RunShard,
    Scheduler,
    ShardDone,
    ShardFailed,
    ShardSpec,
    Tick,
)
from orchestrator.jobs import FailureKind

GIB = 2**30


def work(
    shard: str, *, account: str = "a", model: str = "m", seconds: float = 10.0, **more: object
) -> ShardSpec:
    return ShardSpec(
        shard_id=shard,
        job_id=shard.partition("-")[0],
        account_id=account,
        model=model,
        run_seconds=seconds,
        **more,  # type: ignore[arg-type]
    )


def scheduler(*instances: str, max_attempts: int = 3) -> Scheduler:
    made = Scheduler(max_attempts=max_attempts)
    for name in instances:
        made.handle(InstanceUp(instance_id=name), 0.0)
    return made


def runs(instructions: list[Instruction]) -> list[tuple[str, str]]:
    return [(i.shard_id, i.instance_id) for i in instructions if isinstance(i, RunShard)]


def add(to: Scheduler, *works: ShardSpec, now: float = 0.0) -> list[tuple[str, str]]:
    return runs(to.handle(JobAdded(specs=works), now))


def ended(
    to: Scheduler, shard: str, instance: str, now: float, seconds: float | None = None
) -> list[Instruction]:
    told = to.handle(RunEnded(shard_id=shard, instance_id=instance, seconds=seconds), now)
    return told + to.handle(ShardDone(shard_id=shard), now)


def test_four_pictures_go_to_four_idle_cards() -> None:
    fleet = scheduler("g0", "g1", "g2", "g3")
    begun = add(fleet, *(work(f"j-{index}") for index in range(4)))
    assert sorted(instance for _, instance in begun) == ["g0", "g1", "g2", "g3"]


def test_each_card_gets_one_to_run_and_one_to_wait() -> None:
    fleet = scheduler("g0", "g1")
    begun = add(fleet, *(work(f"j-{index}") for index in range(9)))
    assert len(begun) == 4
    assert len(fleet.queue) == 5


def test_a_free_slot_is_filled_at_once() -> None:
    fleet = scheduler("g0")
    add(fleet, *(work(f"j-{index}") for index in range(3)))
    assert runs(ended(fleet, "j-0", "g0", 10.0)) == [("j-2", "g0")]


def test_the_faster_card_gets_more() -> None:
    fleet = Scheduler(max_attempts=1)
    fleet.handle(InstanceUp(instance_id="fast", speed=4.0), 0.0)
    fleet.handle(InstanceUp(instance_id="slow", speed=1.0), 0.0)
    begun = add(fleet, work("j-0", seconds=8), work("j-1", seconds=8))
    assert begun == [("j-0", "fast"), ("j-1", "fast")]  # done after 4 s; the slow card alone needs 8


def test_a_warm_card_is_preferred_while_loading_would_take_longer() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, work("j-0", load_seconds=30))
    ended(fleet, "j-0", "g0", 40.0)
    add(fleet, work("k-0", load_seconds=30), now=40.0)
    assert add(fleet, work("l-0", load_seconds=30), now=41.0) == [("l-0", "g0")]


def test_a_cold_card_is_used_once_the_queue_is_longer_than_a_load() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, work("j-0", load_seconds=30))
    ended(fleet, "j-0", "g0", 40.0)
    begun = add(fleet, *(work(f"k-{index}", load_seconds=30) for index in range(12)), now=40.0)
    assert {instance for _, instance in begun} == {"g0", "g1"}


def test_what_no_longer_fits_beside_the_newest_model_was_used_longest_ago() -> None:
    fleet = Scheduler(max_attempts=1)
    fleet.handle(InstanceUp(instance_id="g0", vram=96 * GIB), 0.0)
    for index, model in enumerate(("x", "y", "z")):
        add(fleet, work(f"j{index}-0", model=model, vram=40 * GIB))
        ended(fleet, f"j{index}-0", "g0", float(index))
    assert list(fleet.instances["g0"].loaded_models) == ["y", "z"]


def test_a_model_goes_only_where_it_is_served() -> None:
    fleet = Scheduler(max_attempts=1)
    fleet.handle(InstanceUp(instance_id="g0", models=frozenset({"other"})), 0.0)
    assert add(fleet, work("j-0")) == []
    assert not fleet.can_serve("m")
    assert runs(fleet.handle(InstanceUp(instance_id="g1", models=frozenset({"m"})), 1.0)) == [("j-0", "g1")]


def test_an_old_version_that_is_served_nowhere_holds_up_none_of_the_new() -> None:
    fleet = Scheduler(max_attempts=1)
    fleet.handle(InstanceUp(instance_id="g0", models=frozenset({"m", "v2"})), 0.0)
    assert add(fleet, work("j-0", version="v1"), work("k-0", version="v2")) == [("k-0", "g0")]
    assert not fleet.can_serve("v1")
    assert runs(fleet.handle(InstanceUp(instance_id="g1", models=frozenset({"v1"})), 1.0)) == [("j-0", "g1")]
    assert fleet.queue.depth_by_model() == {}


def test_a_model_that_fits_one_card_only_waits_for_that_card() -> None:
    fleet = Scheduler(max_attempts=1)
    fleet.handle(InstanceUp(instance_id="small", vram=24 * GIB), 0.0)
    fleet.handle(InstanceUp(instance_id="large", vram=96 * GIB), 0.0)
    begun = add(fleet, *(work(f"j-{index}", vram=60 * GIB) for index in range(3)))
    assert begun == [("j-0", "large"), ("j-1", "large")]


def test_one_callers_thousands_do_not_starve_another() -> None:
    fleet = scheduler("g0")
    add(fleet, *(work(f"big-{index}", account="big") for index in range(1000)))
    add(fleet, work("one-0", account="small"), now=1.0)
    assert runs(ended(fleet, "big-0", "g0", 10.0)) == [("one-0", "g0")]


def test_shares_follow_weights() -> None:
    fleet = scheduler("g0")
    for account, weight in (("pro", 3.0), ("free", 1.0)):
        add(fleet, *(work(f"{account}-{i}", account=account, fair_share_weight=weight) for i in range(200)))
    order = _drain(fleet, 80)
    assert 57 <= sum(shard.startswith("pro") for shard in order) <= 63


def _drain(fleet: Scheduler, count: int) -> list[str]:
    """Runs `count` shards on one card, 10 s each, and says which."""
    done = []
    for index in range(count):
        shard = fleet.instances["g0"].assignments[0].spec.shard_id
        done.append(shard)
        ended(fleet, shard, "g0", 10.0 * (index + 1))
    return done


def test_a_cold_model_is_not_passed_over_for_ever_by_a_stream_of_newcomers() -> None:
    fleet = scheduler("g0")
    add(fleet, work("w0-0", model="warm", load_seconds=60))
    add(fleet, work("cold-0", account="patient", model="cold", load_seconds=60))
    for index in range(1, 40):
        add(fleet, work(f"w{index}-0", account=f"new{index}", model="warm", load_seconds=60), now=index)
    assert "cold-0" in _drain(fleet, 12)


def test_a_limit_holds_back_one_account_and_no_other() -> None:
    fleet = scheduler("g0", "g1")
    begun = add(fleet, *(work(f"j-{index}", max_concurrency=1) for index in range(3)))
    assert begun == [("j-0", "g0")]
    assert add(fleet, work("k-0", account="b")) == [("k-0", "g1")]
    assert runs(ended(fleet, "j-0", "g0", 10.0)) == [("j-1", "g0")]


def test_a_cancelled_shard_does_not_keep_its_account_from_running() -> None:
    fleet = scheduler("g0")
    add(fleet, *(work(f"{job}-0", max_concurrency=1) for job in ("j", "k", "l")))
    ended(fleet, "j-0", "g0", 1.0)  # k runs, l is held back
    fleet.handle(JobCancelled(job_id="k"), 2.0)
    assert runs(ended(fleet, "k-0", "g0", 3.0)) == [("l-0", "g0")]


def test_a_failed_shard_goes_elsewhere_and_first() -> None:
    fleet = scheduler("g0", "g1")
    begun = add(fleet, *(work(f"j-{index}") for index in range(6)))
    shard, instance = begun[0]
    fleet.handle(RunEnded(shard_id=shard, instance_id=instance), 1.0)
    fleet.handle(ShardFailed(shard_id=shard, instance_id=instance, kind=FailureKind.NODE_FAILED), 1.0)
    other = "g1" if instance == "g0" else "g0"
    running = fleet.instances[other].assignments[0].spec.shard_id
    assert runs(ended(fleet, running, other, 10.0))[0] == (shard, other)


def test_a_shard_whose_only_instance_failed_it_is_tried_there_again() -> None:
    fleet = scheduler("g0")
    add(fleet, work("j-0"))
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 1.0)
    told = fleet.handle(ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.NODE_FAILED), 1.0)
    assert runs(told) == [("j-0", "g0")]


def test_after_the_last_attempt_the_whole_job_is_given_up() -> None:
    fleet = scheduler("g0", "g1", max_attempts=1)
    add(fleet, work("j-0"), work("j-1"), work("j-2"), work("j-3"), work("j-4"))
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 1.0)
    told = fleet.handle(ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.NODE_FAILED), 1.0)
    assert told[0] == FailJob(job_id="j", shard_id="j-0", kind=FailureKind.NODE_FAILED)
    assert {i.shard_id for i in told if isinstance(i, CancelShard)} >= {"j-1", "j-2", "j-3"}
    assert len(fleet.queue) == 0


def lose(to: Scheduler, shard: str, instance: str, now: float, *, has_run: bool = False) -> list[Instruction]:
    """An instance vanishes with a shard, and is back with other capabilities."""
    to.handle(InstanceDown(instance_id=instance), now)
    to.handle(RunEnded(shard_id=shard, instance_id=instance), now)
    gone = FailureKind.INSTANCE_GONE
    return to.handle(ShardFailed(shard_id=shard, instance_id=instance, kind=gone, has_run=has_run), now)


def test_does_not_count_attempts_that_lost_their_instance_before_they_ran() -> None:
    fleet = scheduler(max_attempts=2)
    add(fleet, work("j-0", deadline=100.0))
    for now in range(1, 20):
        assert runs(fleet.handle(InstanceUp(instance_id="g0"), float(now))) == [("j-0", "g0")]
        assert lose(fleet, "j-0", "g0", float(now)) == []
    assert "j-0" in fleet.queue


def test_fails_a_job_that_loses_its_instance_after_its_deadline() -> None:
    fleet = scheduler("g0", max_attempts=2)
    add(fleet, work("j-0", deadline=100.0))
    assert lose(fleet, "j-0", "g0", 100.0) == [FailJob(job_id="j", shard_id="j-0", kind=FailureKind.EXPIRED)]
    assert not fleet.has_shard("j-0")


def test_counts_attempts_that_lost_their_instance_while_they_ran() -> None:
    fleet = scheduler("g0", max_attempts=2)
    add(fleet, work("j-0", deadline=100.0))
    assert lose(fleet, "j-0", "g0", 1.0, has_run=True) == []
    fleet.handle(InstanceUp(instance_id="g0"), 2.0)
    assert lose(fleet, "j-0", "g0", 2.0, has_run=True) == [
        FailJob(job_id="j", shard_id="j-0", kind=FailureKind.INSTANCE_GONE)
    ]


def test_waits_when_the_returning_instance_no_longer_serves_the_version() -> None:
    fleet = scheduler("g0", max_attempts=1)
    add(fleet, work("j-0", version="v1"))
    assert lose(fleet, "j-0", "g0", 1.0) == []
    assert fleet.handle(InstanceUp(instance_id="g0", models=frozenset({"m", "v2"})), 2.0) == []
    assert "j-0" in fleet.queue
    assert not fleet.can_serve("v1")


def test_expires_a_retry_that_waits_after_a_deadline_that_passed_while_it_ran() -> None:
    fleet = scheduler("g0")
    add(fleet, work("j-0", deadline=100.0))
    assert fleet.handle(Tick(), 101.0) == []
    fleet.handle(InstanceDown(instance_id="g0"), 102.0)
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 102.0)
    failed = ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.NODE_FAILED)
    assert fleet.handle(failed, 102.0) == []
    assert fleet.handle(Tick(), 103.0) == [FailJob(job_id="j", shard_id="j-0", kind=FailureKind.EXPIRED)]


def test_a_bad_graph_is_not_tried_twice() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, work("j-0"))
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 1.0)
    told = fleet.handle(ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.BAD_GRAPH), 1.0)
    assert told == [FailJob(job_id="j", shard_id="j-0", kind=FailureKind.BAD_GRAPH)]


def test_out_of_memory_frees_the_card_and_tries_another() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, work("j-0"))
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 1.0)
    told = fleet.handle(ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.OUT_OF_MEMORY), 1.0)
    assert told == [FreeMemory(instance_id="g0"), RunShard(shard_id="j-0", instance_id="g1")]


def test_a_drained_card_gets_nothing_and_keeps_its_models() -> None:
    fleet = scheduler("g0")
    add(fleet, work("j-0"))
    fleet.handle(InstanceDown(instance_id="g0", memory_lost=False), 1.0)
    ended(fleet, "j-0", "g0", 2.0)
    assert add(fleet, work("k-0"), now=3.0) == []
    assert runs(fleet.handle(InstanceUp(instance_id="g0"), 4.0)) == [("k-0", "g0")]
    assert "m" in fleet.instances["g0"].loaded_models


def test_replayed_events_change_nothing() -> None:
    fleet = scheduler("g0")
    works = [work("j-0"), work("j-1")]
    add(fleet, *works)
    assert add(fleet, *works) == []
    ended(fleet, "j-0", "g0", 1.0)
    assert ended(fleet, "j-0", "g0", 2.0) == []
    failed = ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.NODE_FAILED)
    assert fleet.handle(failed, 3.0) == []
    assert fleet.handle(JobCancelled(job_id="nobody"), 3.0) == []


def test_estimates_learn_from_what_was_measured() -> None:
    fleet = scheduler("g0")
    for index in range(5):
        add(fleet, work(f"j{index}-0"))
        ended(fleet, f"j{index}-0", "g0", float(index), seconds=30.0)
    add(fleet, work("k-0"))
    assert fleet.instances["g0"].assignments[0].expected_seconds == 30.0


def test_one_stalled_run_does_not_spoil_the_estimate() -> None:
    fleet = scheduler("g0")
    for index, seconds in enumerate((10, 10, 10, 3000, 10)):
        add(fleet, work(f"j{index}-0"))
        ended(fleet, f"j{index}-0", "g0", float(index), seconds=seconds)
    add(fleet, work("k-0"))
    assert fleet.instances["g0"].assignments[0].expected_seconds == 10.0


def test_the_expected_wait_counts_what_runs_and_a_fair_share_of_what_waits() -> None:
    fleet = scheduler("g0", "g1")
    assert fleet.expected_wait_seconds("a", 0.0) == 0.0
    add(fleet, *(work(f"j-{index}") for index in range(8)))
    assert fleet.expected_wait_seconds("a", 0.0) == 40.0
    assert fleet.expected_wait_seconds("newcomer", 0.0) == 20.0
    assert scheduler().expected_wait_seconds("a", 0.0) == float("inf")


def test_a_shard_that_waits_beyond_its_deadline_fails_its_job() -> None:
    fleet = scheduler()
    add(fleet, work("j-0", deadline=100.0), work("j-1", deadline=100.0), work("k-0"))
    assert fleet.handle(Tick(), 99.0) == []
    assert fleet.handle(Tick(), 100.0) == [FailJob(job_id="j", shard_id="j-0", kind=FailureKind.EXPIRED)]
    assert runs(fleet.handle(InstanceUp(instance_id="g0"), 101.0)) == [("k-0", "g0")]

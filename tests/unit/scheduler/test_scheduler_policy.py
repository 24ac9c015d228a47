"""Decisions of the scheduler in small scenarios, with an explicit clock."""

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


def make_spec(
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


def add(to: Scheduler, *specs: ShardSpec, now: float = 0.0) -> list[tuple[str, str]]:
    return runs(to.handle(JobAdded(specs=specs), now))


def finish(
    to: Scheduler, shard: str, instance: str, now: float, seconds: float | None = None
) -> list[Instruction]:
    instructions = to.handle(RunEnded(shard_id=shard, instance_id=instance, seconds=seconds), now)
    return instructions + to.handle(ShardDone(shard_id=shard), now)


def test_spreads_four_shards_over_four_idle_instances() -> None:
    fleet = scheduler("g0", "g1", "g2", "g3")
    started = add(fleet, *(make_spec(f"j-{index}") for index in range(4)))
    assert sorted(instance for _, instance in started) == ["g0", "g1", "g2", "g3"]


def test_assigns_two_shards_to_each_instance() -> None:
    fleet = scheduler("g0", "g1")
    started = add(fleet, *(make_spec(f"j-{index}") for index in range(9)))
    assert len(started) == 4
    assert len(fleet.queue) == 5


def test_fills_a_free_slot_immediately() -> None:
    fleet = scheduler("g0")
    add(fleet, *(make_spec(f"j-{index}") for index in range(3)))
    assert runs(finish(fleet, "j-0", "g0", 10.0)) == [("j-2", "g0")]


def test_gives_a_faster_instance_more_shards() -> None:
    fleet = Scheduler(max_attempts=1)
    fleet.handle(InstanceUp(instance_id="fast", speed=4.0), 0.0)
    fleet.handle(InstanceUp(instance_id="slow", speed=1.0), 0.0)
    started = add(fleet, make_spec("j-0", seconds=8), make_spec("j-1", seconds=8))
    assert started == [("j-0", "fast"), ("j-1", "fast")]  # done after 4 s; the slow instance alone needs 8 s


def test_prefers_a_loaded_instance_while_loading_would_take_longer() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, make_spec("j-0", load_seconds=30))
    finish(fleet, "j-0", "g0", 40.0)
    add(fleet, make_spec("k-0", load_seconds=30), now=40.0)
    assert add(fleet, make_spec("l-0", load_seconds=30), now=41.0) == [("l-0", "g0")]


def test_loads_another_instance_when_the_queue_is_longer_than_a_load() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, make_spec("j-0", load_seconds=30))
    finish(fleet, "j-0", "g0", 40.0)
    started = add(fleet, *(make_spec(f"k-{index}", load_seconds=30) for index in range(12)), now=40.0)
    assert {instance for _, instance in started} == {"g0", "g1"}


def test_evicts_the_least_recently_used_model() -> None:
    fleet = Scheduler(max_attempts=1)
    fleet.handle(InstanceUp(instance_id="g0", vram=96 * GIB), 0.0)
    for index, model in enumerate(("x", "y", "z")):
        add(fleet, make_spec(f"j{index}-0", model=model, vram=40 * GIB))
        finish(fleet, f"j{index}-0", "g0", float(index))
    assert list(fleet.instances["g0"].loaded_models) == ["y", "z"]


def test_assigns_a_model_only_to_instances_that_serve_it() -> None:
    fleet = Scheduler(max_attempts=1)
    fleet.handle(InstanceUp(instance_id="g0", models=frozenset({"other"})), 0.0)
    assert add(fleet, make_spec("j-0")) == []
    assert not fleet.can_serve("m")
    assert runs(fleet.handle(InstanceUp(instance_id="g1", models=frozenset({"m"})), 1.0)) == [("j-0", "g1")]


def test_an_unservable_old_version_does_not_block_the_new_one() -> None:
    fleet = Scheduler(max_attempts=1)
    fleet.handle(InstanceUp(instance_id="g0", models=frozenset({"m", "v2"})), 0.0)
    assert add(fleet, make_spec("j-0", version="v1"), make_spec("k-0", version="v2")) == [("k-0", "g0")]
    assert not fleet.can_serve("v1")
    assert runs(fleet.handle(InstanceUp(instance_id="g1", models=frozenset({"v1"})), 1.0)) == [("j-0", "g1")]
    assert fleet.queue.depth_by_model() == {}


def test_waits_for_the_only_instance_with_enough_memory() -> None:
    fleet = Scheduler(max_attempts=1)
    fleet.handle(InstanceUp(instance_id="small", vram=24 * GIB), 0.0)
    fleet.handle(InstanceUp(instance_id="large", vram=96 * GIB), 0.0)
    started = add(fleet, *(make_spec(f"j-{index}", vram=60 * GIB) for index in range(3)))
    assert started == [("j-0", "large"), ("j-1", "large")]


def test_an_account_with_many_shards_does_not_starve_another() -> None:
    fleet = scheduler("g0")
    add(fleet, *(make_spec(f"big-{index}", account="big") for index in range(1000)))
    add(fleet, make_spec("one-0", account="small"), now=1.0)
    assert runs(finish(fleet, "big-0", "g0", 10.0)) == [("one-0", "g0")]


def test_divides_the_fleet_by_weight() -> None:
    fleet = scheduler("g0")
    for account, weight in (("pro", 3.0), ("free", 1.0)):
        add(
            fleet,
            *(make_spec(f"{account}-{i}", account=account, fair_share_weight=weight) for i in range(200)),
        )
    order = _drain(fleet, 80)
    assert 57 <= sum(shard.startswith("pro") for shard in order) <= 63


def _drain(fleet: Scheduler, count: int) -> list[str]:
    """Run `count` shards of 10 s on one instance and return their ids."""
    done = []
    for index in range(count):
        shard = fleet.instances["g0"].assignments[0].spec.shard_id
        done.append(shard)
        finish(fleet, shard, "g0", 10.0 * (index + 1))
    return done


def test_a_model_that_is_not_loaded_does_not_starve() -> None:
    fleet = scheduler("g0")
    add(fleet, make_spec("w0-0", model="warm", load_seconds=60))
    add(fleet, make_spec("cold-0", account="patient", model="cold", load_seconds=60))
    for index in range(1, 40):
        add(fleet, make_spec(f"w{index}-0", account=f"new{index}", model="warm", load_seconds=60), now=index)
    assert "cold-0" in _drain(fleet, 12)


def test_limits_the_concurrency_of_one_account_only() -> None:
    fleet = scheduler("g0", "g1")
    started = add(fleet, *(make_spec(f"j-{index}", max_concurrency=1) for index in range(3)))
    assert started == [("j-0", "g0")]
    assert add(fleet, make_spec("k-0", account="b")) == [("k-0", "g1")]
    assert runs(finish(fleet, "j-0", "g0", 10.0)) == [("j-1", "g0")]


def test_a_cancelled_shard_does_not_block_its_account() -> None:
    fleet = scheduler("g0")
    add(fleet, *(make_spec(f"{job}-0", max_concurrency=1) for job in ("j", "k", "l")))
    finish(fleet, "j-0", "g0", 1.0)  # k runs, l is blocked by the limit
    fleet.handle(JobCancelled(job_id="k"), 2.0)
    assert runs(finish(fleet, "k-0", "g0", 3.0)) == [("l-0", "g0")]


def test_cancels_one_shard_and_runs_the_others() -> None:
    fleet = scheduler("g0")
    add(fleet, *(make_spec(f"j-{index}") for index in range(4)))
    running = [one.spec.shard_id for one in fleet.instances["g0"].assignments]
    assert fleet.handle(JobCancelled(job_id="j", shard_id="j-3"), 1.0) == []
    assert not fleet.has_shard("j-3")
    cancelled = fleet.handle(JobCancelled(job_id="j", shard_id=running[0]), 1.0)
    assert cancelled == [CancelShard(shard_id=running[0], instance_id="g0")]
    assert runs(finish(fleet, running[0], "g0", 2.0)) == [("j-2", "g0")]
    assert fleet.handle(JobCancelled(job_id="j", shard_id="k-0"), 2.0) == []


def test_retries_a_failed_shard_first_and_on_another_instance() -> None:
    fleet = scheduler("g0", "g1")
    started = add(fleet, *(make_spec(f"j-{index}") for index in range(6)))
    shard, instance = started[0]
    fleet.handle(RunEnded(shard_id=shard, instance_id=instance), 1.0)
    fleet.handle(ShardFailed(shard_id=shard, instance_id=instance, kind=FailureKind.NODE_FAILED), 1.0)
    other = "g1" if instance == "g0" else "g0"
    running = fleet.instances[other].assignments[0].spec.shard_id
    assert runs(finish(fleet, running, other, 10.0))[0] == (shard, other)


def test_retries_on_the_same_instance_if_there_is_no_other() -> None:
    fleet = scheduler("g0")
    add(fleet, make_spec("j-0"))
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 1.0)
    instructions = fleet.handle(
        ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.NODE_FAILED), 1.0
    )
    assert runs(instructions) == [("j-0", "g0")]


def test_fails_the_whole_job_after_the_last_attempt() -> None:
    fleet = scheduler("g0", "g1", max_attempts=1)
    add(fleet, make_spec("j-0"), make_spec("j-1"), make_spec("j-2"), make_spec("j-3"), make_spec("j-4"))
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 1.0)
    instructions = fleet.handle(
        ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.NODE_FAILED), 1.0
    )
    assert instructions[0] == FailJob(job_id="j", shard_id="j-0", kind=FailureKind.NODE_FAILED)
    assert {i.shard_id for i in instructions if isinstance(i, CancelShard)} >= {"j-1", "j-2", "j-3"}
    assert len(fleet.queue) == 0


def lose(to: Scheduler, shard: str, instance: str, now: float, *, has_run: bool = False) -> list[Instruction]:
    """Report that an instance became unreachable with an assigned shard."""
    to.handle(InstanceDown(instance_id=instance), now)
    to.handle(RunEnded(shard_id=shard, instance_id=instance), now)
    gone = FailureKind.INSTANCE_GONE
    return to.handle(ShardFailed(shard_id=shard, instance_id=instance, kind=gone, has_run=has_run), now)


def test_does_not_count_attempts_that_lost_their_instance_before_they_ran() -> None:
    fleet = scheduler(max_attempts=2)
    add(fleet, make_spec("j-0", deadline=100.0))
    for now in range(1, 20):
        assert runs(fleet.handle(InstanceUp(instance_id="g0"), float(now))) == [("j-0", "g0")]
        assert lose(fleet, "j-0", "g0", float(now)) == []
    assert "j-0" in fleet.queue


def test_fails_a_job_that_loses_its_instance_after_its_deadline() -> None:
    fleet = scheduler("g0", max_attempts=2)
    add(fleet, make_spec("j-0", deadline=100.0))
    assert lose(fleet, "j-0", "g0", 100.0) == [FailJob(job_id="j", shard_id="j-0", kind=FailureKind.EXPIRED)]
    assert not fleet.has_shard("j-0")


def test_waits_when_the_returning_instance_no_longer_serves_the_version() -> None:
    fleet = scheduler("g0", max_attempts=1)
    add(fleet, make_spec("j-0", version="v1"))
    assert lose(fleet, "j-0", "g0", 1.0) == []
    assert fleet.handle(InstanceUp(instance_id="g0", models=frozenset({"m", "v2"})), 2.0) == []
    assert "j-0" in fleet.queue
    assert not fleet.can_serve("v1")


def test_expires_a_retry_that_waits_after_a_deadline_that_passed_while_it_ran() -> None:
    fleet = scheduler("g0")
    add(fleet, make_spec("j-0", deadline=100.0))
    assert fleet.handle(Tick(), 101.0) == []
    fleet.handle(InstanceDown(instance_id="g0"), 102.0)
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 102.0)
    failed = ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.NODE_FAILED)
    assert fleet.handle(failed, 102.0) == []
    assert fleet.handle(Tick(), 103.0) == [FailJob(job_id="j", shard_id="j-0", kind=FailureKind.EXPIRED)]


def test_does_not_retry_a_bad_graph() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, make_spec("j-0"))
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 1.0)
    instructions = fleet.handle(
        ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.BAD_GRAPH), 1.0
    )
    assert instructions == [FailJob(job_id="j", shard_id="j-0", kind=FailureKind.BAD_GRAPH)]


def test_frees_the_memory_and_retries_elsewhere_on_out_of_memory() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, make_spec("j-0"))
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 1.0)
    instructions = fleet.handle(
        ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.OUT_OF_MEMORY), 1.0
    )
    assert instructions == [FreeMemory(instance_id="g0"), RunShard(shard_id="j-0", instance_id="g1")]


def test_a_drained_instance_gets_no_shards_and_keeps_its_models() -> None:
    fleet = scheduler("g0")
    add(fleet, make_spec("j-0"))
    fleet.handle(InstanceDown(instance_id="g0", memory_lost=False), 1.0)
    finish(fleet, "j-0", "g0", 2.0)
    assert add(fleet, make_spec("k-0"), now=3.0) == []
    assert runs(fleet.handle(InstanceUp(instance_id="g0"), 4.0)) == [("k-0", "g0")]
    assert "m" in fleet.instances["g0"].loaded_models


def test_repeated_events_change_nothing() -> None:
    fleet = scheduler("g0")
    specs = [make_spec("j-0"), make_spec("j-1")]
    add(fleet, *specs)
    assert add(fleet, *specs) == []
    finish(fleet, "j-0", "g0", 1.0)
    assert finish(fleet, "j-0", "g0", 2.0) == []
    failed = ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.NODE_FAILED)
    assert fleet.handle(failed, 3.0) == []
    assert fleet.handle(JobCancelled(job_id="unknown"), 3.0) == []


def test_learns_from_measured_run_times() -> None:
    fleet = scheduler("g0")
    for index in range(5):
        add(fleet, make_spec(f"j{index}-0"))
        finish(fleet, f"j{index}-0", "g0", float(index), seconds=30.0)
    add(fleet, make_spec("k-0"))
    assert fleet.instances["g0"].assignments[0].expected_seconds == 30.0


def test_ignores_a_single_outlier_in_run_times() -> None:
    fleet = scheduler("g0")
    for index, seconds in enumerate((10, 10, 10, 3000, 10)):
        add(fleet, make_spec(f"j{index}-0"))
        finish(fleet, f"j{index}-0", "g0", float(index), seconds=seconds)
    add(fleet, make_spec("k-0"))
    assert fleet.instances["g0"].assignments[0].expected_seconds == 10.0


def test_expected_wait_includes_running_shards_and_a_fair_share_of_the_queue() -> None:
    fleet = scheduler("g0", "g1")
    assert fleet.expected_wait_seconds("a", 0.0) == 0.0
    add(fleet, *(make_spec(f"j-{index}") for index in range(8)))
    assert fleet.expected_wait_seconds("a", 0.0) == 40.0
    assert fleet.expected_wait_seconds("newcomer", 0.0) == 20.0
    assert scheduler().expected_wait_seconds("a", 0.0) == float("inf")


def test_fails_the_job_of_a_shard_that_waits_beyond_its_deadline() -> None:
    fleet = scheduler()
    add(fleet, make_spec("j-0", deadline=100.0), make_spec("j-1", deadline=100.0), make_spec("k-0"))
    assert fleet.handle(Tick(), 99.0) == []
    assert fleet.handle(Tick(), 100.0) == [FailJob(job_id="j", shard_id="j-0", kind=FailureKind.EXPIRED)]
    assert runs(fleet.handle(InstanceUp(instance_id="g0"), 101.0)) == [("k-0", "g0")]


def test_a_shard_runs_where_the_loras_are_that_it_names() -> None:
    made = Scheduler(max_attempts=3)
    made.handle(InstanceUp(instance_id="plain", loras=frozenset()), 0.0)
    made.handle(InstanceUp(instance_id="ink", loras=frozenset({"ink", "gold"})), 0.0)
    wanted = frozenset({"ink"})
    for number in range(2):
        assert add(made, make_spec(f"s{number}-0", loras=wanted)) == [(f"s{number}-0", "ink")]
    assert add(made, make_spec("s2-0", loras=wanted)) == []
    assert add(made, make_spec("s3-0")) == [("s3-0", "plain")]
    assert runs(made.handle(InstanceUp(instance_id="plain", loras=frozenset({"ink"})), 1.0)) == [
        ("s2-0", "plain")
    ]

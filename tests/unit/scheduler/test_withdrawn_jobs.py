"""Jobs that were assigned while they were being stored, and then were not stored."""

from __future__ import annotations

from orchestrator.execution.scheduler import (
    InstanceUp,
    JobAdded,
    JobWithdrawn,
    RunEnded,
    RunShard,
    Scheduler,
    ShardDone,
    ShardSpec,
)

GIB = 2**30


def spec(shard: str, model: str = "m", **more: object) -> ShardSpec:
    job = shard.partition("-")[0]
    fixed = {"shard_id": shard, "job_id": job, "account_id": "a", "model": model, "run_seconds": 10.0}
    return ShardSpec(**{**fixed, **more})  # type: ignore[arg-type]


def one_instance() -> Scheduler:
    scheduler = Scheduler(max_attempts=3)
    scheduler.handle(InstanceUp(instance_id="g0", vram=10 * GIB), 0.0)
    return scheduler


def started(instructions: list[object]) -> list[str]:
    return [one.shard_id for one in instructions if isinstance(one, RunShard)]


def test_the_slots_of_a_withdrawn_job_go_to_the_next() -> None:
    scheduler = one_instance()
    scheduler.handle(JobAdded(specs=[spec("j-0"), spec("j-1"), spec("j-2")]), 0.0)
    assert started([*scheduler.handle(JobAdded(specs=[spec("k-0")]), 0.0)]) == []
    assert started([*scheduler.handle(JobWithdrawn(job_id="j"), 1.0)]) == ["k-0"]
    assert not any(scheduler.has_shard(f"j-{number}") for number in range(3))
    assert len(scheduler.queue) == 0


def test_a_withdrawn_job_does_not_count_against_the_limit_of_its_account() -> None:
    scheduler = one_instance()
    scheduler.handle(JobAdded(specs=[spec("j-0", max_concurrency=1)]), 0.0)
    assert scheduler.queue.running_count("a") == 1
    done = scheduler.handle(JobAdded(specs=[spec("k-0", max_concurrency=1)]), 0.0)
    assert started([*done]) == []
    assert started([*scheduler.handle(JobWithdrawn(job_id="j"), 1.0)]) == ["k-0"]
    assert scheduler.queue.running_count("a") == 1


def test_a_withdrawn_job_has_evicted_no_model() -> None:
    """Its own model was not loaded, and those that it would have replaced are still there."""
    scheduler = one_instance()
    scheduler.handle(JobAdded(specs=[spec("j-0", "first", vram=8 * GIB)]), 0.0)
    scheduler.handle(RunEnded(shard_id="j-0", instance_id="g0", seconds=10.0), 1.0)
    scheduler.handle(ShardDone(shard_id="j-0"), 1.0)
    scheduler.handle(JobAdded(specs=[spec("k-0", "second", vram=8 * GIB)]), 2.0)
    assert list(scheduler.instances["g0"].loaded_models) == ["second"]
    scheduler.handle(JobWithdrawn(job_id="k"), 2.0)
    assert list(scheduler.instances["g0"].loaded_models) == ["first"]


def test_a_job_that_waits_is_withdrawn_too() -> None:
    scheduler = Scheduler(max_attempts=3)
    scheduler.handle(JobAdded(specs=[spec("j-0")]), 0.0)
    scheduler.handle(JobWithdrawn(job_id="j"), 0.0)
    assert started([*scheduler.handle(InstanceUp(instance_id="g0"), 1.0)]) == []


def test_withdrawing_an_unknown_job_changes_nothing() -> None:
    scheduler = one_instance()
    scheduler.handle(JobAdded(specs=[spec("j-0")]), 0.0)
    assert scheduler.handle(JobWithdrawn(job_id="other"), 1.0) == []
    assert scheduler.has_shard("j-0")

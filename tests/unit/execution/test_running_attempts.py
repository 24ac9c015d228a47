"""Which attempts a task runs, and which assignments of the scheduler no task runs."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.execution.active_shards import RunningAttempts
from orchestrator.execution.scheduler import InstanceUp, JobAdded, Scheduler, ShardSpec
from orchestrator.jobs import Attempt


def make_attempt(shard_id: str) -> Attempt:
    return Attempt(
        prompt_id=f"prompt of {shard_id}",
        shard_id=shard_id,
        number=1,
        instance_id="g0",
        started_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


def test_lists_assignments_that_no_task_runs() -> None:
    scheduler, attempts = Scheduler(max_attempts=3), RunningAttempts()
    scheduler.handle(InstanceUp(instance_id="g0"), 0.0)
    specs = [
        ShardSpec(shard_id=id, job_id="job", account_id="a", model="m", run_seconds=1.0)
        for id in ("job-1", "job-2")
    ]
    scheduler.handle(JobAdded(specs=specs), 0.0)
    with attempts.track(make_attempt("job-1")):
        assert attempts.list_lost_assignments(scheduler) == [("job-2", "g0")]
        with attempts.track(make_attempt("job-2"), recovers=True):
            assert attempts.list_lost_assignments(scheduler) == []
    assert attempts.list_lost_assignments(scheduler) == [("job-1", "g0"), ("job-2", "g0")]

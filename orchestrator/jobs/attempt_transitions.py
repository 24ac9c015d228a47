"""State changes of shards and attempts: start, end with an optional retry, finish. Pure rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from orchestrator.jobs.failures import FailureKind
from orchestrator.jobs.job import Attempt, Job, Output, Shard, Usage
from orchestrator.jobs.status import JobStatus, ShardStatus

#: `Attempt.outcome` of an attempt whose outputs were stored.
OUTCOME_OK = "ok"
#: Outcomes of attempts that do not count against the maximum of a shard.
LOSSES = frozenset({FailureKind.INSTANCE_GONE, FailureKind.ABANDONED})


def is_attempt_running(attempt: Attempt, shard: Shard) -> bool:
    """Whether a started attempt is still the one that its shard runs."""
    return attempt.ended_at is None and shard.status is ShardStatus.RUNNING


def start_shard(shard: Shard, attempt: Attempt) -> Shard | None:
    """Return the running shard, or None if it does not wait for an attempt."""
    if shard.status is not ShardStatus.WAITING:
        return None
    return shard.transition_to(ShardStatus.RUNNING, attempts=attempt.number)


def start_job(job: Job, now: datetime) -> Job | None:
    """Return the running job when its first shard starts; None if it runs already."""
    if job.status is not JobStatus.QUEUED:
        return None
    return job.transition_to(JobStatus.RUNNING, started_at=now)


def end_attempt(attempt: Attempt, outcome: str, detail: str | None, now: datetime) -> Attempt | None:
    """Return the ended attempt; None if it has ended before."""
    if attempt.ended_at is not None:
        return None
    return replace(attempt, ended_at=now, outcome=outcome, detail=detail)


def retry_shard(shard: Shard, attempt: Attempt, outcome: str, *, has_run: bool) -> Shard | None:
    """Return the shard waiting again, or None if it ended or runs a later attempt.

    An attempt that was lost with its instance, or with an earlier process of the service, is no failure of
    the shard. If the instance died while it ran the shard (`has_run`), the death is counted.
    """
    if shard.status is not ShardStatus.RUNNING or shard.attempts != attempt.number:
        return None
    is_death = outcome == FailureKind.INSTANCE_GONE and has_run
    return shard.transition_to(
        ShardStatus.WAITING,
        tries=shard.tries + (outcome not in LOSSES),
        deaths=shard.deaths + is_death,
    )


def finish_shard(shard: Shard, outputs: Sequence[Output], usage: Usage) -> Shard | None:
    """Return the succeeded shard, or None if it has ended before.

    A waiting shard takes the late result of an attempt that was given up. Raises ValueError without outputs.
    """
    if not outputs:
        raise ValueError(f"shard {shard.id} finished without outputs")
    if shard.status is ShardStatus.WAITING:
        shard = shard.transition_to(ShardStatus.RUNNING)
    if shard.status is not ShardStatus.RUNNING:
        return None
    return shard.transition_to(ShardStatus.SUCCEEDED, outputs=tuple(outputs), usage=usage)

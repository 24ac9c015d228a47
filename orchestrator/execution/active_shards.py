"""The unfinished shards of this process, and the attempts that its tasks run."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.catalog import Model
from orchestrator.execution.failures import AttemptFailure, to_job_error
from orchestrator.execution.scheduler import Scheduler
from orchestrator.jobs import Attempt, FailureKind, Job, JobError, Shard
from orchestrator.own_graphs.messages import hide_paths

#: Failures whose detail the caller of an own graph gets.
TOLD_TO_CALLERS = frozenset(
    {
        FailureKind.GRAPH_FAILED,
        FailureKind.GRAPH_TOO_LONG,
        FailureKind.BAD_GRAPH,
        FailureKind.NO_OUTPUT,
        FailureKind.OUT_OF_MEMORY,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveShard:
    """An unfinished shard, with its latest attempt once one has started."""

    job: Job
    shard: Shard
    #: The version that was offered when the job was accepted; all shards of a job use the same version.
    model: Model
    attempt: Attempt | None = None
    #: How the attempts of this process failed, in order.
    failures: tuple[AttemptFailure, ...] = ()


def begin_attempt(active: ActiveShard, instance_id: str, now: datetime) -> tuple[ActiveShard, Attempt]:
    """Return the shard with its next attempt, and the attempt."""
    attempt = Attempt(
        prompt_id=str(uuid.uuid4()),
        shard_id=active.shard.id,
        number=active.shard.attempts + 1,
        instance_id=instance_id,
        started_at=now,
    )
    shard = replace(active.shard, attempts=attempt.number)
    return replace(active, shard=shard, attempt=attempt), attempt


def record_failure(shards: dict[str, ActiveShard], shard_id: str, failure: AttemptFailure) -> None:
    """Remember how an attempt of a shard failed, unless its job has been cancelled meanwhile."""
    if active := shards.get(shard_id):
        shards[shard_id] = replace(active, failures=(*active.failures, failure))


def drop_waiting(
    shards: dict[str, ActiveShard], is_cancelled: Callable[[str], bool]
) -> dict[str, ActiveShard]:
    """Return the shards without the cancelled ones that no attempt runs."""
    return {id: active for id, active in shards.items() if active.attempt or not is_cancelled(id)}


def drop_job(shards: dict[str, ActiveShard], job_id: str) -> dict[str, ActiveShard]:
    """Return the shards without those of a job."""
    return {id: active for id, active in shards.items() if active.job.id != job_id}


def final_error(active: ActiveShard | None, kind: FailureKind) -> JobError:
    """Return the error of a job whose shard cannot be completed, after a last failure of this kind.

    What is wrong with a caller's own graph, the caller has to know.
    """
    error = to_job_error(final_failure(active, kind))
    if active is None or not active.model.is_own_graph or not active.failures:
        return error
    detail = hide_paths(active.failures[-1].detail)
    return replace(error, message=detail) if kind in TOLD_TO_CALLERS and detail else error


def final_failure(active: ActiveShard | None, kind: FailureKind) -> FailureKind:
    """Return why a job fails whose shard cannot be completed, after a last failure of this kind.

    A node that failed with one error in every attempt would fail again, wherever and whenever it runs.
    """
    failures = active.failures if active else ()
    is_same = len(failures) > 1 and len({(one.kind, one.detail) for one in failures}) == 1
    return FailureKind.NODE_FAILED_REPEATEDLY if is_same and kind is FailureKind.NODE_FAILED else kind


class RunningAttempts:
    """The attempts that a task of this process runs or recovers."""

    def __init__(self) -> None:
        #: By prompt id.
        self._attempts: dict[str, Attempt] = {}
        self._recovering: set[str] = set()

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self._attempts

    @contextmanager
    def track(self, attempt: Attempt, *, recovers: bool = False) -> Iterator[None]:
        """Contain the attempt while the block runs. `recovers`: an earlier process started it."""
        self._attempts[attempt.prompt_id] = attempt
        if recovers:
            self._recovering.add(attempt.prompt_id)
        try:
            yield
        finally:
            self._attempts.pop(attempt.prompt_id, None)
            self._recovering.discard(attempt.prompt_id)

    def list_recovering(self, is_wanted: Callable[[str], bool]) -> list[Attempt]:
        """Return the attempts of the wanted shards that are being recovered, which the scheduler does not
        know."""
        attempts = [self._attempts[prompt_id] for prompt_id in self._recovering]
        return [attempt for attempt in attempts if is_wanted(attempt.shard_id)]

    def list_lost_assignments(self, scheduler: Scheduler) -> list[tuple[str, str]]:
        """Return (shard id, instance id) of every occupied slot whose shard no task runs."""
        running = {attempt.shard_id for attempt in self._attempts.values()}
        return [
            (assignment.spec.shard_id, instance.id)
            for instance in scheduler.instances.values()
            for assignment in instance.assignments
            if assignment.spec.shard_id not in running
        ]

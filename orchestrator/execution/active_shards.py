"""The unfinished shards of this process, and the attempts that its tasks run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.catalog import Model
from orchestrator.execution.scheduler import Scheduler
from orchestrator.jobs import Attempt, Job, Shard


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveShard:
    """An unfinished shard, with its latest attempt once one has started."""

    job: Job
    shard: Shard
    #: The version that was offered when the job was accepted; all shards of a job use the same version.
    model: Model
    attempt: Attempt | None = None


class RunningAttempts:
    """The attempts that a task of this process runs or recovers."""

    def __init__(self) -> None:
        #: Shard id by prompt id.
        self._shards: dict[str, str] = {}

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self._shards

    @contextmanager
    def track(self, attempt: Attempt) -> Iterator[None]:
        """Contain the attempt while the block runs."""
        self._shards[attempt.prompt_id] = attempt.shard_id
        try:
            yield
        finally:
            self._shards.pop(attempt.prompt_id, None)

    def list_lost_assignments(self, scheduler: Scheduler) -> list[tuple[str, str]]:
        """Return (shard id, instance id) of every occupied slot whose shard no task runs."""
        running = set(self._shards.values())
        return [
            (assignment.spec.shard_id, instance.id)
            for instance in scheduler.instances.values()
            for assignment in instance.assignments
            if assignment.spec.shard_id not in running
        ]

"""Cancels jobs at the time limit that their request has set."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from comfy_instances.tasks import keep_running, spawn
from orchestrator.execution.active_shards import ActiveShard
from orchestrator.execution.job_lifecycle import Clock, JobLifecycle
from orchestrator.jobs.options import is_overdue

#: Seconds between two looks at the unfinished jobs.
LOOK_SECONDS = 1.0


class RunningJobs(Protocol):
    """The part of the dispatcher that knows what is under way."""

    @property
    def is_stopping(self) -> bool: ...

    def unfinished_shards(self) -> Collection[ActiveShard]:
        """Return all shards that are waiting or running."""
        ...

    def cancel_job(self, job_id: str) -> None:
        """Stop the job on its instances."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class OverdueJobs:
    """Looks at regular intervals for unfinished jobs whose time limit has passed."""

    jobs: RunningJobs
    lifecycle: JobLifecycle
    clock: Clock
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def start(self) -> None:
        """Start to look."""
        spawn(keep_running(self._run, "job time limits"), "job time limits", group=self._tasks)

    async def stop(self) -> None:
        """Stop looking; the next process goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        while not self.jobs.is_stopping:
            await asyncio.sleep(LOOK_SECONDS)
            await self.cancel_overdue()

    async def cancel_overdue(self) -> list[str]:
        """Cancel the jobs whose time limit has passed, and return their ids."""
        now = self.clock()
        overdue = list(
            dict.fromkeys(
                active.job.id for active in self.jobs.unfinished_shards() if is_overdue(active.job, now)
            )
        )
        for job_id in overdue:
            self.jobs.cancel_job(job_id)
            await self.lifecycle.abandon_job(job_id)
        return overdue

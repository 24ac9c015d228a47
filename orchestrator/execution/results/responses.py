"""Responses that a connection still has to bring: who waits now, and what a crash cut off.

A request without an idempotency key has one connection that may bring its result. What happens without it:

    the caller disconnects                the job is cancelled, unless it has succeeded
    this process dies, job unfinished     the next process cancels the job: its result could not be collected
    this process dies, job succeeded      an SDK's retry of the request gets this job; without one, the charge
                                          is refunded after a while
    the response fails, job succeeded     the same

A job whose id is in the response, or that has a webhook, continues after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from comfy_instances.tasks import end_tasks, spawn
from orchestrator.jobs import Job, JobRecord, PendingResponse
from orchestrator.store import Store
from orchestrator.store.availability import until_store_answers

#: How long callers wait for a change that goes on in the background, in seconds.
BACKGROUND_WAIT_SECONDS = 1.0
#: How long such changes may take once the service stops, in seconds.
STOP_WAIT_SECONDS = 5.0


class ResponseTracker:
    """Knows the requests whose response is being sent by this process; records the outcome in the store."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        retry_window: timedelta,
        may_be_awaited_elsewhere: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`retry_window` is how long a result that was not sent is kept for a retry of its request.

        `may_be_awaited_elsewhere` returns whether a connection of another process may wait for a job.
        """
        self._store = store
        self._clock = clock
        self.retry_window = retry_window
        self._may_be_awaited_elsewhere = may_be_awaited_elsewhere
        self._live: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, job_id: str) -> None:
        """A connection begins to wait for this job."""
        self._live.add(job_id)

    def end(self, job_id: str) -> None:
        """The connection is done, whatever came of it."""
        self._live.discard(job_id)

    def is_live(self, job_id: str) -> bool:
        """Whether a connection waits for the job, of this process or of another one."""
        return job_id in self._live or self._may_be_awaited_elsewhere(job_id)

    def live_job_ids(self) -> frozenset[str]:
        """Return the ids of the jobs for which connections of this process wait."""
        return frozenset(self._live)

    def is_unattended(self, job: Job) -> bool:
        """Whether no caller can get the result of this unfinished job: its only connection has ended."""
        waits = job.pending_response is PendingResponse.RESULT and not job.is_finished
        return waits and not self.is_live(job.id)

    async def claim(self, job: Job) -> JobRecord | None:
        """Return the earlier job that the retry of a request repeats, and begin to wait for it.

        That is a job of the same key and request whose response was never sent and that no caller waits for.
        """
        since = self._clock() - self.retry_window
        for record in await self._store.find_undelivered_jobs(job, since):
            if not self.is_live(record.job.id) and not self.is_unattended(record.job):
                self.begin(record.job.id)
                return record
        return None

    def record_sent(self, job_id: str) -> None:
        """Record soon that the response was sent; then the connection is done."""
        self._record_and_end(job_id, None)

    def record_lost(self, job_id: str) -> None:
        """Record soon that the caller disconnected, which matters only for a job that has succeeded."""
        self._record_and_end(job_id, PendingResponse.LOST)

    def _record_and_end(self, job_id: str, pending: PendingResponse | None) -> None:
        """Record an outcome. Until it is written, the job counts as waited for: its caller knows more."""

        async def record() -> None:
            await self._store.record_response(job_id, pending)
            self.end(job_id)

        self.in_background(record, "record_response", job_id)

    def in_background(
        self, change: Callable[[], Awaitable[object]], operation: str, job_id: str
    ) -> asyncio.Task[None]:
        """Make a change that goes on while the store is unavailable; return its task."""

        async def run() -> None:
            await until_store_answers(change, operation)

        return spawn(run(), operation, job_id, group=self._tasks)

    async def in_background_for_a_moment(
        self, change: Callable[[], Awaitable[object]], operation: str, job_id: str
    ) -> None:
        """Do the same, and wait for it for BACKGROUND_WAIT_SECONDS at most."""
        await asyncio.wait({self.in_background(change, operation, job_id)}, timeout=BACKGROUND_WAIT_SECONDS)

    async def stop(self) -> None:
        """Wait for the changes under way, up to a limit; the next process makes up for the others."""
        await end_tasks(self._tasks, STOP_WAIT_SECONDS)

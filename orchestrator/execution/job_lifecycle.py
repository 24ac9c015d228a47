"""Changes the status of jobs and shards: first in the store, then as a published event."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from orchestrator.errors import NotFound
from orchestrator.jobs import Attempt, FailureKind, JobError, JobRecord, JobStatus, Output, Shard, Usage
from orchestrator.jobs.events import (
    AttemptFailed,
    EventHub,
    JobChanged,
    ShardQuarantined,
    ShardStarted,
    WriteRetried,
)
from orchestrator.jobs.loras import TrainedLora
from orchestrator.jobs.quarantine import QuarantinedShard
from orchestrator.store import Store
from orchestrator.store.availability import until_store_answers

T = TypeVar("T")
log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class JobLifecycle:
    """Each method is one transaction of the store and one event. Repeating a call changes nothing.

    What an attempt did is written until the store has taken it: a full disk or a lock delays the end of a
    job and loses nothing. `cancel_job` is for callers, who are told at once that the store is unavailable;
    `abandon_job` is for jobs whose caller has gone.
    """

    def __init__(self, store: Store, events: EventHub, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._clock = clock

    async def start_attempt(
        self, job_id: str, shard: Shard, attempt: Attempt, *, is_stored: bool = False
    ) -> bool:
        """Store an attempt before its prompt is sent, so that it can be recovered after a crash.

        `is_stored`: it was stored with its job. Returns False if the shard is no longer needed."""
        is_started = is_stored or await self._until_written(
            lambda: self._store.start_attempt(attempt), "start_attempt"
        )
        if is_started:
            started = ShardStarted(
                index=shard.index,
                shard_id=shard.id,
                instance_id=attempt.instance_id,
                attempt=attempt.number,
            )
            self._events.publish(job_id, started)
        return is_started

    def now(self) -> datetime:
        """Return the time by which changes are dated."""
        return self._clock()

    async def finish_shard(
        self, attempt: Attempt, outputs: Sequence[Output], usage: Usage, trained: TrainedLora | None = None
    ) -> JobRecord:
        """Store the outputs of a shard. With the last shard the job succeeds and its hold is captured.

        `trained` describes the LoRA that a training job has made.
        """
        now = self._clock()
        return self._publish_change(
            await self._until_written(
                lambda: self._store.finish_shard(attempt.prompt_id, outputs, usage, now, trained=trained),
                "finish_shard",
            ),
            now,
        )

    async def fail_attempt(
        self, attempt: Attempt, kind: FailureKind, detail: str, *, has_run: bool = True
    ) -> None:
        """Record a failed attempt. Its shard waits again unless the job is finished.

        With `has_run`, the loss of an instance is recorded as a death under the shard.
        An attempt that failed before it was stored leaves nothing to record."""
        now = self._clock()
        try:
            await self._until_written(
                lambda: self._store.end_attempt(
                    attempt.prompt_id, kind, detail, now, retry=True, has_run=has_run
                ),
                "end_attempt",
            )
        except NotFound:
            log.info("attempt %s of shard %s was never stored", attempt.prompt_id, attempt.shard_id)
        failed = AttemptFailed(shard_id=attempt.shard_id, instance_id=attempt.instance_id, kind=kind)
        self._events.notify_observers(failed)

    async def fail_job(self, job_id: str, error: JobError) -> JobRecord:
        """Fail the job and release its hold."""
        now = self._clock()
        return self._publish_change(
            await self._until_written(lambda: self._store.fail_job(job_id, error, now), "fail_job"), now
        )

    async def quarantine_shard(self, quarantined: QuarantinedShard, error: JobError) -> JobRecord:
        """Keep a shard under which instances died, fail its job and release its hold."""
        now = quarantined.quarantined_at
        log.error(
            "shard %s of account %s is quarantined: instances died while they ran it (model %s)",
            quarantined.shard_id,
            quarantined.account_id,
            quarantined.model,
            extra={"action": "shard_quarantined", "job_id": quarantined.job_id},
        )
        record = await self._until_written(
            lambda: self._store.quarantine_shard(quarantined, error, now), "quarantine_shard"
        )
        event = ShardQuarantined(
            shard_id=quarantined.shard_id, account_id=quarantined.account_id, model=quarantined.model
        )
        self._events.notify_observers(event)
        return self._publish_change(record, now)

    async def cancel_job(self, job_id: str) -> JobRecord:
        """Cancel the job and release its hold."""
        now = self._clock()
        return self._publish_change(await self._store.cancel_job(job_id, now), now)

    async def cancel_shard(self, job_id: str, index: int) -> JobRecord:
        """Cancel one shard of a job; the job ends with its last open shard."""
        now = self._clock()
        return self._publish_change(await self._store.cancel_shard(job_id, index, now), now)

    async def abandon_job(self, job_id: str) -> JobRecord:
        """Cancel a job that no caller waits for any more, as soon as the store takes it."""
        now = self._clock()
        return self._publish_change(
            await self._until_written(lambda: self._store.cancel_job(job_id, now), "cancel_job"), now
        )

    def announce(self, record: JobRecord) -> None:
        """Publish a finished job again, for those who have not heard of its end."""
        self._events.publish(record.job.id, JobChanged(record=record))

    async def mend_job(self, job_id: str) -> JobRecord:
        """Correct a job whose parts do not belong together, and publish it."""
        now = self._clock()
        return self._publish_change(await self._store.mend_job(job_id, now), now)

    async def _until_written(self, write: Callable[[], Awaitable[T]], operation: str) -> T:
        return await until_store_answers(write, operation, self._notify_retry)

    def _notify_retry(self, operation: str) -> None:
        self._events.notify_observers(WriteRetried(operation=operation))

    def _publish_change(self, record: JobRecord, now: datetime) -> JobRecord:
        """Publish a stored change. `now` is the time that was passed to the store: a job with another
        `finished_at` was already finished, and the change had no effect on it."""
        final = record.job.finished_at == now
        if final:
            self._log_finished_job(record)
        self._events.publish(record.job.id, JobChanged(record=record, final=final))
        return record

    @staticmethod
    def _log_finished_job(record: JobRecord) -> None:
        job = record.job
        seconds = (job.finished_at - job.created_at).total_seconds() if job.finished_at else 0.0
        charged = job.price if job.status is JobStatus.SUCCEEDED else 0
        log.info(
            "job %s %s: model %s, %d shard(s), %.2f s, charged %d micro-dollars%s",
            job.id,
            job.status,
            job.model,
            len(record.shards),
            seconds,
            charged,
            f" ({job.error.code})" if job.error else "",
            extra={"action": f"job_{job.status}", "job_id": job.id},
        )

"""Changes the status of jobs and shards: first in the store, then as a published event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from orchestrator.jobs import Attempt, FailureKind, JobError, JobRecord, JobStatus, Output, Shard, Usage
from orchestrator.jobs.events import AttemptFailed, EventHub, JobChanged, ShardStarted
from orchestrator.store import Store

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class JobLifecycle:
    """Each method is one transaction of the store and one event. Repeating a call changes nothing."""

    def __init__(self, store: Store, events: EventHub, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._clock = clock

    async def start_attempt(self, job_id: str, shard: Shard, attempt: Attempt) -> bool:
        """Store an attempt before its prompt is sent, so that it can be recovered after a crash.

        Returns False if the shard is no longer needed."""
        is_started = await self._store.start_attempt(attempt)
        if is_started:
            started = ShardStarted(
                index=shard.index,
                shard_id=shard.id,
                instance_id=attempt.instance_id,
                attempt=attempt.number,
            )
            self._events.publish(job_id, started)
        return is_started

    async def finish_shard(self, attempt: Attempt, outputs: Sequence[Output], usage: Usage) -> JobRecord:
        """Store the outputs of a shard. With the last shard the job succeeds and its hold is captured."""
        now = self._clock()
        return self._publish_change(
            await self._store.finish_shard(attempt.prompt_id, outputs, usage, now), now
        )

    async def fail_attempt(self, attempt: Attempt, kind: FailureKind, detail: str) -> None:
        """Record a failed attempt. Its shard waits again unless the job is finished."""
        await self._store.end_attempt(attempt.prompt_id, kind, detail, self._clock(), retry=True)
        failed = AttemptFailed(shard_id=attempt.shard_id, instance_id=attempt.instance_id, kind=kind)
        self._events.notify_observers(failed)

    async def fail_job(self, job_id: str, error: JobError) -> JobRecord:
        """Fail the job and release its hold."""
        now = self._clock()
        return self._publish_change(await self._store.fail_job(job_id, error, now), now)

    async def cancel_job(self, job_id: str) -> JobRecord:
        """Cancel the job and release its hold."""
        now = self._clock()
        return self._publish_change(await self._store.cancel_job(job_id, now), now)

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

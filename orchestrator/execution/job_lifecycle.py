"""The one place where a job comes to an end: stored state first, then everybody is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from orchestrator.jobs import Attempt, JobError, JobRecord, JobStatus, Output, Shard, Usage
from orchestrator.jobs.events import AttemptFailed, EventHub, JobChanged, ShardStarted
from orchestrator.store import Store

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class JobLifecycle:
    """Each method is one transaction of the store and one event; repeating any changes nothing."""

    def __init__(self, store: Store, events: EventHub, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._clock = clock

    async def start_attempt(self, job_id: str, shard: Shard, attempt: Attempt) -> bool:
        """Writes down that `attempt` is about to be sent, so that it can be found after a crash.
        False where its shard is not wanted any more."""
        wanted = await self._store.start_attempt(attempt)
        if wanted:
            started = ShardStarted(
                index=shard.index,
                shard_id=shard.id,
                instance_id=attempt.instance_id,
                attempt=attempt.number,
            )
            self._events.publish(job_id, started)
        return wanted

    async def finish_shard(self, attempt: Attempt, outputs: Sequence[Output], usage: Usage) -> JobRecord:
        """A shard is done; with the last one its job is, and the hold is captured."""
        now = self._clock()
        return self._publish_change(
            await self._store.finish_shard(attempt.prompt_id, outputs, usage, now), now
        )

    async def fail_attempt(self, attempt: Attempt, outcome: str, detail: str) -> None:
        """An attempt came to nothing: its shard waits again, if its job is not finished."""
        await self._store.end_attempt(attempt.prompt_id, outcome, detail, self._clock(), retry=True)
        missed = AttemptFailed(shard_id=attempt.shard_id, instance_id=attempt.instance_id, kind=outcome)
        self._events.notify_observers(missed)

    async def fail_job(self, job_id: str, error: JobError) -> JobRecord:
        """The job can not be done: the hold is released."""
        now = self._clock()
        return self._publish_change(await self._store.fail_job(job_id, error, now), now)

    async def cancel_job(self, job_id: str) -> JobRecord:
        """The job is not wanted any more: the hold is released."""
        now = self._clock()
        return self._publish_change(await self._store.cancel_job(job_id, now), now)

    def _publish_change(self, record: JobRecord, now: datetime) -> JobRecord:
        """`now` is when the store was asked for the change: a job that ended at another time had ended
        before, and is left as it was."""
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

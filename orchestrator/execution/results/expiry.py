"""Expiry of finished jobs and deletion of their files.

A file of an earlier version may be shared by jobs; it is deleted when no job needs it any more. In addition,
the lifecycle rules of the bucket delete old files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from types import TracebackType
from typing import Self

from comfy_instances.tasks import report_error, spawn
from orchestrator.errors import JOB_ID_HEADER, Gone, ServiceError
from orchestrator.execution.results.object_deletion import ObjectDeleter
from orchestrator.jobs import Job, JobRecord
from orchestrator.jobs.loras import Lora
from orchestrator.store import Store

log = logging.getLogger(__name__)

#: Files per transaction of the store: at least, and at most.
MIN_BATCH_SIZE, MAX_BATCH_SIZE = 20, 200
#: How long a transaction should keep other writes waiting, in seconds; batches grow and shrink to that.
BATCH_SECONDS = 0.03
#: Sweeps per lifetime of a file, and the longest time between two sweeps.
SWEEPS_PER_LIFETIME, MAX_SWEEP_INTERVAL_SECONDS = 10, 3600.0


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """How long finished jobs and their files are kept."""

    lifetime: timedelta
    clock: Callable[[], datetime]
    #: How long LoRAs are kept after their training; as long as jobs if that is longer.
    lora_lifetime: timedelta = timedelta(0)

    def lora_expires_at(self, lora: Lora) -> datetime:
        """Return when a LoRA expires."""
        return lora.created_at + max(self.lifetime, self.lora_lifetime)

    def is_lora_expired(self, lora: Lora) -> bool:
        """Whether a LoRA expired."""
        return self.lora_expires_at(lora) <= self.clock()

    def expires_at(self, job: Job) -> datetime | None:
        """Return when the job expires; None while it is not finished."""
        return job.finished_at + self.lifetime if job.finished_at else None

    def is_expired(self, job: Job) -> bool:
        """Whether the job expired."""
        end = self.expires_at(job)
        return end is not None and end <= self.clock()

    def require_unexpired(self, record: JobRecord) -> JobRecord:
        """Return the same record. Raises Gone if its job has expired."""
        if self.is_expired(record.job):
            raise Gone(
                "The job has expired and its files have been deleted; create a new job",
                headers={JOB_ID_HEADER: record.job.id},
            )
        return record


async def expire_in_batches(expire: Callable[[int], Awaitable[int]]) -> int:
    """Expire what is left, at most the number at a time that `expire` gets; return how many.

    A store may have one writer, which others wait for: this takes half of its time at most.
    """
    size, total = MIN_BATCH_SIZE, 0
    while True:
        began = monotonic()
        expired = await expire(size)
        seconds = monotonic() - began
        if not expired:
            return total
        total += expired
        size = next_batch_size(size, seconds)
        await asyncio.sleep(seconds)


def next_batch_size(size: int, seconds: float) -> int:
    """Return how many files the next transaction takes, where one with `size` took so many seconds."""
    fitting = int(size * BATCH_SECONDS / seconds) if seconds > 0 else MAX_BATCH_SIZE
    return max(MIN_BATCH_SIZE, min(fitting, 2 * size, MAX_BATCH_SIZE))


class ExpiredFileSweeper:
    """Condemns the files of expired jobs at regular intervals while its context is active."""

    def __init__(self, store: Store, deleter: ObjectDeleter, expiry: ExpiryPolicy) -> None:
        self._store = store
        self._deleter = deleter
        self._expiry = expiry

    async def __aenter__(self) -> Self:
        self._task = spawn(self._run_periodically(), "expired file sweeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; the next process continues."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def condemn_expired_files(self) -> int:
        """Condemn all files that no unexpired job needs, and those of expired LoRAs; return their number.

        Raises ServiceError.
        """
        now = self._expiry.clock()
        trained_before = now - max(self._expiry.lifetime, self._expiry.lora_lifetime)

        async def expire_files(limit: int) -> int:
            keys = await self._store.expire_files(now - self._expiry.lifetime, limit, now)
            self._deleter.wake()
            return len(keys)

        async def expire_loras(limit: int) -> int:
            expired = await self._store.expire_loras(trained_before, limit, now)
            self._deleter.wake()
            return expired

        return await expire_in_batches(expire_files) + await expire_in_batches(expire_loras)

    async def _run_periodically(self) -> None:
        pause = min(self._expiry.lifetime.total_seconds() / SWEEPS_PER_LIFETIME, MAX_SWEEP_INTERVAL_SECONDS)
        while True:
            try:
                condemned = await self.condemn_expired_files()
                if condemned:
                    log.info("%d file(s) expired", condemned, extra={"action": "files_expired"})
            except ServiceError as error:
                log.warning("expired files could not be condemned: %s", error)
            except Exception as error:
                # The store still lists the files, so the next sweep tries again.
                report_error(error, "expired file sweeper")
            await asyncio.sleep(pause)

"""Expiry of finished jobs and deletion of their files.

Jobs with identical outputs share one file; it is deleted when no job needs it any more. In addition, the
lifecycle rules of the bucket delete old files, including those of jobs that failed after storing them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from orchestrator.errors import Gone, ServiceError
from orchestrator.jobs import Job, JobRecord
from orchestrator.media.errors import ObjectNotFound, ObjectStoreError
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store import Store

log = logging.getLogger(__name__)

#: Files per query of the store, and files that are deleted at the same time.
BATCH_SIZE, MAX_CONCURRENT_DELETES = 200, 8
#: Sweeps per lifetime of a file, and the longest time between two sweeps.
SWEEPS_PER_LIFETIME, MAX_SWEEP_INTERVAL_SECONDS = 10, 3600.0


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """How long finished jobs and their files are kept."""

    lifetime: timedelta
    clock: Callable[[], datetime]

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
            raise Gone("The job has expired and its files have been deleted; create a new job")
        return record


class ExpiredFileSweeper:
    """Deletes the files of expired jobs at regular intervals while its context is active."""

    def __init__(self, store: Store, object_store: ObjectStore, expiry: ExpiryPolicy) -> None:
        self._store = store
        self._object_store = object_store
        self._expiry = expiry

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run_periodically(), name="expired-file-sweeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; the next process deletes the remaining files."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def delete_expired_files(self) -> int:
        """Delete all files that no unexpired job needs, and return their number.

        Raises ObjectStoreError, ServiceError.
        """
        before = self._expiry.clock() - self._expiry.lifetime
        swept = 0
        while keys := await self._store.list_unused_files(before, BATCH_SIZE):
            slots = asyncio.Semaphore(MAX_CONCURRENT_DELETES)
            await asyncio.gather(*(self._delete_file(key, before, slots) for key in keys))
            await self._store.delete_file_records(keys, before)
            swept += len(keys)
        return swept

    async def _run_periodically(self) -> None:
        pause = min(self._expiry.lifetime.total_seconds() / SWEEPS_PER_LIFETIME, MAX_SWEEP_INTERVAL_SECONDS)
        while True:
            try:
                swept = await self.delete_expired_files()
                if swept:
                    log.info("%d expired file(s) deleted", swept, extra={"action": "files_expired"})
            except (ObjectStoreError, ServiceError) as error:
                log.warning("expired files could not be deleted: %s", error)
            except Exception:
                # The store still lists the files, so the next sweep tries again.
                log.exception("expired files could not be deleted")
            await asyncio.sleep(pause)

    async def _delete_file(self, key: str, before: datetime, slots: asyncio.Semaphore) -> None:
        async with slots:
            try:
                written = (await self._object_store.stat(key)).modified
            except ObjectNotFound:
                return
            # A run with the same output may have written the file again without having finished its job yet;
            # `ObjectStore.put` always rewrites a file of this age.
            if written < before:
                await self._object_store.delete(key)

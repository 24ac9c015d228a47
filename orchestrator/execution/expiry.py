"""The end of what is finished: for how long jobs can be asked for, and the clean-up of their files.

The same pixels are one file, however many jobs made them: it goes once no job needs it any more. The
bucket's own deletion rules are the net below: they catch what was stored for jobs that came to nothing.
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

#: Files deleted between two looks into the store, and at once.
BATCH_SIZE, MAX_CONCURRENT_DELETES = 200, 8
#: Looks for expired files within a lifetime, and seconds between two looks at most.
SWEEPS_PER_LIFETIME, MAX_SWEEP_INTERVAL_SECONDS = 10, 3600.0


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """How long finished jobs and their files are kept."""

    lifetime: timedelta
    clock: Callable[[], datetime]

    def expires_at(self, job: Job) -> datetime | None:
        """When the job expires; None while it is not finished."""
        return job.finished_at + self.lifetime if job.finished_at else None

    def is_expired(self, job: Job) -> bool:
        end = self.expires_at(job)
        return end is not None and end <= self.clock()

    def require_unexpired(self, record: JobRecord) -> JobRecord:
        """The same record. Raises Gone where the job has expired."""
        if self.is_expired(record.job):
            raise Gone("The job has expired, and its files are deleted")
        return record


class ExpiredFileSweeper:
    """Deletes the files of expired jobs, as long as it runs."""

    def __init__(self, store: Store, object_store: ObjectStore, expiry: ExpiryPolicy) -> None:
        self._store = store
        self._object_store = object_store
        self._expiry = expiry

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run_periodically(), name="clean-up")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What is not deleted yet is deleted by the next process."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def delete_expired_files(self) -> int:
        """Deletes all that nobody needs now; the number of files. Raises ObjectStoreError, ServiceError."""
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
                # What is wrong now may be right at the next look; the files are still known.
                log.exception("expired files could not be deleted")
            await asyncio.sleep(pause)

    async def _delete_file(self, key: str, before: datetime, slots: asyncio.Semaphore) -> None:
        async with slots:
            try:
                written = (await self._object_store.stat(key)).modified
            except ObjectNotFound:
                return
            # Written anew since: by a run that makes the same pixels and whose end is not in the store yet.
            # A file this old is always written anew (`ObjectStore.put`).
            if written < before:
                await self._object_store.delete(key)

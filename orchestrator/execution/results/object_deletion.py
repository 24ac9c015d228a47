"""Deletes the objects that the store has condemned, and retries until object storage has deleted them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from comfy_instances.backoff import backoff_delay
from comfy_instances.tasks import keep_running, spawn
from orchestrator.errors import ServiceUnavailable
from orchestrator.jobs.events import EventHub, ObjectDeleted, ObjectDeletionFailed
from orchestrator.jobs.objects import ObjectDeletion
from orchestrator.media.errors import ObjectStoreError
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store import Store

log = logging.getLogger(__name__)

#: Deletions per query of the store, and objects that are deleted at the same time.
BATCH_SIZE, MAX_CONCURRENT_DELETES = 200, 8
#: Pause after a failed try of one object, and between two looks: the first one and the longest, in seconds.
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 1.0, 300.0
#: Longest time between two looks for deletions that are due.
LOOK_INTERVAL_SECONDS = 5.0
#: How long a caller waits for the objects of a removed job to be deleted.
CALLER_WAIT_SECONDS = 10.0


class ObjectDeleter:
    """Works off the store's deletions. A crash at any moment leaves them to the next process."""

    def __init__(
        self, store: Store, object_store: ObjectStore, events: EventHub, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._object_store = object_store
        self._events = events
        self._clock = clock
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_DELETES)
        self._tasks: set[asyncio.Task[None]] = set()
        #: Keys that are being deleted, and the end of their batch.
        self._busy: dict[str, asyncio.Event] = {}

    def start(self) -> None:
        """Start to delete what is due, and what becomes due."""
        spawn(keep_running(self._run, "object deletion"), "object deletion", group=self._tasks)

    async def stop(self) -> None:
        """Stop; the next process continues."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look for deletions soon, because some were added."""
        self._wake.set()

    async def delete_condemned(self, keys: Iterable[str]) -> None:
        """Delete objects that the store has just condemned; return after a few seconds in any case.

        What can not be deleted now is retried later.
        """
        wanted = list(keys)
        if not wanted:
            return
        task = spawn(self._delete_now(wanted), "object deletion", wanted[0], group=self._tasks)
        await asyncio.wait({task}, timeout=CALLER_WAIT_SECONDS)

    async def delete_due(self) -> int:
        """Try each object that is due once, and return how many were deleted. Raises ServiceUnavailable."""
        total, now = 0, self._clock()
        while batch := await self._store.list_due_deletions(now, BATCH_SIZE):
            deleted = await self._delete_batch(batch)
            total += deleted
            if not deleted:  # object storage is unavailable, or others delete them right now
                break
        return total

    async def _run(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            try:
                await self.delete_due()
                failures = 0
            except ServiceUnavailable as error:
                failures += 1
                log.warning("deleted objects could not be recorded: %s", error)
            pause = backoff_delay(failures, FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS) if failures else None
            try:
                async with asyncio.timeout(pause or LOOK_INTERVAL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _delete_now(self, keys: Sequence[str]) -> None:
        """Delete those of the keys that are among the next ones; the others wait for their turn."""
        try:
            due = await self._store.list_due_deletions(self._clock(), BATCH_SIZE)
            await self._delete_batch([one for one in due if one.key in keys])
            for ended in [self._busy[key] for key in keys if key in self._busy]:
                await ended.wait()
        except ServiceUnavailable as error:
            log.warning("deleted objects could not be recorded: %s", error)
        self.wake()

    async def _delete_batch(self, deletions: Sequence[ObjectDeletion]) -> int:
        batch = [one for one in deletions if one.key not in self._busy]
        ended = asyncio.Event()
        self._busy |= {one.key: ended for one in batch}
        try:
            results = await asyncio.gather(*(self._delete(one) for one in batch))
            keys = [one.key for one, is_deleted in zip(batch, results, strict=True) if is_deleted]
            done = await self._store.finish_deletions(keys, self._clock()) if keys else []
        finally:
            for one in batch:
                del self._busy[one.key]
            ended.set()
        for one in batch:
            if one.key in done:
                self._events.notify_observers(ObjectDeleted(reason=one.reason))
        return len(done)

    async def _delete(self, deletion: ObjectDeletion) -> bool:
        """Delete an object; False if object storage did not, which is then tried again later."""
        async with self._slots:
            try:
                await self._object_store.delete(deletion.key)
            except ObjectStoreError as error:
                failures = deletion.attempts + 1
                level = logging.WARNING if failures == 1 else logging.DEBUG
                log.log(level, "object %s could not be deleted and is retried: %s", deletion.key, error)
            else:
                return True
        pause = backoff_delay(failures, FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)
        await self._store.postpone_deletion(deletion.key, self._clock() + timedelta(seconds=pause))
        self._events.notify_observers(ObjectDeletionFailed())
        return False

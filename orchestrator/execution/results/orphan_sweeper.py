"""Finds objects that nothing names, left by processes and instances that died, and has them deleted.

The bucket is listed a page at a time. Of the objects that are older than a grace time, the store condemns
those that no job and no running attempt needs (`orchestrator.jobs.objects` describes the protocol). Keys that
the service does not give are left alone.

A bucket belongs to one installation. Each one leaves a marker below `OWNERS_PREFIX`; while there is the
marker of another one too, nothing is swept, because the store does not know the objects of the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from comfy_instances.tasks import keep_running, spawn
from orchestrator.errors import ServiceUnavailable
from orchestrator.execution.results.object_deletion import ObjectDeleter
from orchestrator.jobs.objects import OBJECT_PREFIXES, DeletionReason, is_job_object, object_owner
from orchestrator.media.errors import ObjectStoreError
from orchestrator.storage.object_store import ListedObject, ObjectStore
from orchestrator.store import Store

log = logging.getLogger(__name__)

OWNERS_PREFIX = "pixelfactory-installations/"
#: Objects per page, and the pause between two pages in seconds. They bound the load of a round.
PAGE_SIZE, PAGE_PAUSE_SECONDS = 1000, 1.0
#: How long the marker is tried to be written, by default.
MARK_TIMEOUT_SECONDS = 30.0
#: Shortest grace time of objects of earlier versions, whose URLs may be in use although no job names them.
SHARED_KEY_GRACE = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class OrphanPolicy:
    """When an unnamed object is deleted."""

    #: Shortest age.
    grace: timedelta
    #: Seconds between the end of a pass over the bucket and the next one.
    interval: float
    clock: Callable[[], datetime]
    #: How many seconds the marker is tried to be written.
    mark_seconds: float = MARK_TIMEOUT_SECONDS

    def is_due(self, found: ListedObject) -> bool:
        """Whether the object is old enough, and has a key that the service gives."""
        if not is_job_object(found.key):
            return False
        is_shared = object_owner(found.key) is None
        grace = max(self.grace, SHARED_KEY_GRACE) if is_shared else self.grace
        return found.modified <= self.clock() - grace


class OrphanSweeper:
    """Passes over the bucket at regular intervals."""

    def __init__(
        self, store: Store, object_store: ObjectStore, deleter: ObjectDeleter, policy: OrphanPolicy
    ) -> None:
        self._store = store
        self._object_store = object_store
        self._deleter = deleter
        self._policy = policy
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Mark the bucket and start to sweep; the first pass begins after an interval.

        Call it before the first object is written. Raises ObjectStoreError.
        """
        await self.mark_bucket()
        spawn(keep_running(self._run, "orphan sweeper"), "orphan sweeper", group=self._tasks)

    async def stop(self) -> None:
        """Stop sweeping."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def sweep(self, page_pause: float = 0.0) -> list[str]:
        """Pass once over the bucket; return the keys of the objects that were condemned.

        Raises ObjectStoreError, ServiceUnavailable.
        """
        condemned: list[str] = []
        await self.mark_bucket()
        for prefix in OBJECT_PREFIXES:
            next_page = self._object_store.list_objects(prefix)
            while page := await next_page(PAGE_SIZE):
                if not await self._owns_bucket():
                    return condemned
                condemned += await self._sweep_page(page)
                await asyncio.sleep(page_pause)
        return condemned

    async def mark_bucket(self) -> None:
        """Leave this installation's marker in the bucket. Raises ObjectStoreError."""
        marker = await self._marker()
        await self._object_store.put_with_retry(marker, b"", "text/plain", timeout=self._policy.mark_seconds)

    async def _sweep_page(self, page: list[ListedObject]) -> list[str]:
        keys = [found.key for found in page if self._policy.is_due(found)]
        if not keys:
            return []
        condemned = await self._store.discard_files(keys, DeletionReason.ORPHAN, self._policy.clock())
        if condemned:
            log.warning(
                "%d object(s) that no job needs are deleted, such as %s",
                len(condemned),
                condemned[0],
                extra={"action": "orphans_condemned", "count": len(condemned)},
            )
            self._deleter.wake()
        return condemned

    async def _owns_bucket(self) -> bool:
        """Return whether this installation's marker is the only one."""
        own = await self._marker()
        markers = await self._object_store.list_objects(OWNERS_PREFIX)(2)
        others = [found.key for found in markers if found.key != own]
        if others:
            log.warning(
                "the bucket is shared with another installation, so unneeded objects stay in it; use one"
                " bucket for each, or delete %s from it if that installation is gone",
                others[0],
            )
        return not others

    async def _marker(self) -> str:
        return OWNERS_PREFIX + await self._store.get_installation_id()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._policy.interval)
            try:
                await self.sweep(PAGE_PAUSE_SECONDS)
            except (ObjectStoreError, ServiceUnavailable) as error:
                log.warning("unneeded objects could not be looked for: %s", error)

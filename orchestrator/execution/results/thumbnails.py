"""Thumbnails of results: made when a job has ended, kept and deleted with its results.

A thumbnail is an object of its job whose key follows from that of the result, so that nothing needs to be
stored about it. One that is missing, because the process ended or too many jobs did at once, is made when it
is asked for.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from time import monotonic, process_time
from types import TracebackType
from typing import Self

from comfy_instances.tasks import keep_running, spawn
from orchestrator.errors import Gone, ServiceError
from orchestrator.execution.results.media_origins import DerivedMediaMarker
from orchestrator.fair_slots import FairSlots
from orchestrator.jobs import JobRecord, JobStatus, Output
from orchestrator.jobs.events import EventHub, ExecutionEvent, JobChanged
from orchestrator.jobs.objects import thumbnail_key
from orchestrator.media.errors import CorruptMedia, ImageTooLarge, ObjectNotFound, ObjectStoreError
from orchestrator.media.gallery_thumbnails import CONTENT_TYPE, has_thumbnail, make_gallery_thumbnail
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store.files import FileStore

log = logging.getLogger(__name__)

#: Jobs that wait for their thumbnails; those beyond get them when they are looked at.
MAX_WAITING_JOBS = 1000
#: How long this process is watched before each thumbnail, in seconds, and what part of a core it may need.
WATCHED_SECONDS, QUIET_SHARE = 0.1, 0.3
#: Nanoseconds for which the main thread has run, and has waited for a processor.
_SCHEDULING = Path("/proc/self/schedstat")
#: Results that are decoded at the same time on request, and per account.
MAX_DECODERS, DECODERS_PER_ACCOUNT, MAX_WAITING_REQUESTS = 2, 1, 2048


class Thumbnails:
    """Finds thumbnails in object storage, and makes missing ones."""

    def __init__(self, objects: ObjectStore, files: FileStore, marker: DerivedMediaMarker) -> None:
        self._objects = objects
        self._files = files
        self._marker = marker
        self._slots = FairSlots(
            "thumbnails", MAX_DECODERS, per_account=DECODERS_PER_ACCOUNT, max_waiting=MAX_WAITING_REQUESTS
        )

    @staticmethod
    def key_of(job_id: str, output: Output) -> str:
        """Return the key of the thumbnail of a job's output."""
        return thumbnail_key(job_id, output.sha256)

    async def load(self, record: JobRecord, output: Output) -> bytes:
        """Return the thumbnail of an output that has one (`has_thumbnail`).

        Raises ObjectNotFound if the output is deleted, CorruptMedia, ObjectStoreError, ServiceError.
        """
        try:
            return await self._objects.get(self.key_of(record.job.id, output))
        except ObjectNotFound:
            async with self._slots.slot(record.job.account_id):
                return await self.make(record, output)

    async def make(self, record: JobRecord, output: Output, *, is_awaited: bool = True) -> bytes:
        """Make and store a thumbnail; `is_awaited` if a caller waits for it.

        Raises as `load` does, and Gone if the job was removed meanwhile.
        """
        data = await self._objects.get(output.key)
        small = await asyncio.to_thread(make_gallery_thumbnail, data, output.content_type)
        small = await self._marker.mark(record.job, small, CONTENT_TYPE)
        key = self.key_of(record.job.id, output)
        await self._objects.put_new(key, small, CONTENT_TYPE)
        await self._files.add_job_file(record.job.id, key, is_awaited=is_awaited)
        return small


class ThumbnailMaker:
    """Makes the thumbnails of each job that succeeds, one after the other, while its context is active.

    It waits while the process has much else to do.
    """

    def __init__(self, thumbnails: Thumbnails, events: EventHub) -> None:
        self._thumbnails = thumbnails
        self._waiting: asyncio.Queue[JobRecord] = asyncio.Queue(MAX_WAITING_JOBS)
        events.add_observer(self._on_event)

    async def __aenter__(self) -> Self:
        self._task = spawn(keep_running(self._run, "thumbnails"), "thumbnails")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; what is missing is made on request."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _on_event(self, event: ExecutionEvent) -> None:
        if not isinstance(event, JobChanged) or not event.final or self._waiting.full():
            return
        if event.record.job.status is JobStatus.SUCCEEDED:
            self._waiting.put_nowait(event.record)

    async def _run(self) -> None:
        while True:
            record = await self._waiting.get()
            for output in record.outputs:
                if not has_thumbnail(output.content_type):
                    continue
                await _wait_until_quiet()
                await self._make(record, output)

    async def _make(self, record: JobRecord, output: Output) -> None:
        try:
            await self._thumbnails.make(record, output, is_awaited=False)
        except (Gone, ObjectNotFound):
            pass  # The caller has deleted the job at once.
        except (CorruptMedia, ImageTooLarge, ObjectStoreError, ServiceError) as error:
            log.info("no thumbnail of %s yet: %s", output.key, error)


async def _wait_until_quiet() -> None:
    """Wait until this process does little: requests and results come first."""
    is_quiet = False
    while not is_quiet:
        needed, began = _read_needed_seconds(), monotonic()
        await asyncio.sleep(WATCHED_SECONDS)
        is_quiet = _read_needed_seconds() - needed < QUIET_SHARE * (monotonic() - began)


def _read_needed_seconds() -> float:
    """Return for how long this process has used processors, and its event loop has waited for one (Linux)."""
    try:
        waited = int(_SCHEDULING.read_text().split()[1])
    except (OSError, LookupError, ValueError):
        waited = 0
    return process_time() + waited / 1e9

"""Thumbnails wait while the process has results and requests to work on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from orchestrator.execution.results.media_origins import DerivedMediaMarker
from orchestrator.execution.results.thumbnails import ThumbnailMaker, Thumbnails
from orchestrator.jobs import JobRecord, Output
from orchestrator.jobs.events import EventHub, JobChanged
from orchestrator.media.errors import ObjectNotFound
from orchestrator.media.marks.marking import MediaMarker
from orchestrator.storage.object_store import ObjectStore
from tests.support.images import png
from tests.support.polling import poll
from tests.support.s3_server import S3Server
from tests.support.shipped import SHIPPED_CATALOG
from tests.support.store_harness import open_world

DATA = png(320, 256)
SHA256 = hashlib.sha256(DATA).hexdigest()


@dataclass
class FinishedJob:
    """A job with one image, whose end is known to a maker of thumbnails."""

    record: JobRecord
    objects: ObjectStore

    async def has_thumbnail(self) -> bool:
        key = Thumbnails.key_of(self.record.job.id, self.record.outputs[0])
        try:
            return (await self.objects.stat(key)).size > 0
        except ObjectNotFound:
            return False


@asynccontextmanager
async def finished_job(s3: S3Server, tmp_path: Path) -> AsyncIterator[FinishedJob]:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(open_world("memory", tmp_path))
        objects = await stack.enter_async_context(ObjectStore(s3.access("thumbnail-pace")))
        await objects.ensure_bucket()
        output = Output(
            key=f"outputs/{tmp_path.name}.png",
            content_type="image/png",
            size=len(DATA),
            sha256=SHA256,
            width=320,
            height=256,
        )
        await objects.put_new(output.key, DATA, output.content_type)
        marker = DerivedMediaMarker(marker=MediaMarker(), get_model=lambda job: SHIPPED_CATALOG[job.model])
        events = EventHub()
        maker = ThumbnailMaker(Thumbnails(objects, world.store, marker), events)
        await stack.enter_async_context(maker)
        record = await world.add()
        record = await world.finish(await world.start(record), [output])
        events.publish(record.job.id, JobChanged(record=record, final=True))
        yield FinishedJob(record, objects)


async def work_hard() -> None:
    """Use most of a core, as many requests do."""
    while True:
        until = monotonic() + 0.02
        while monotonic() < until:
            pass
        await asyncio.sleep(0)


async def test_is_made_once_the_process_is_quiet(s3: S3Server, tmp_path: Path) -> None:
    working = asyncio.create_task(work_hard())
    try:
        async with finished_job(s3, tmp_path) as job:
            await asyncio.sleep(1.0)
            assert not await job.has_thumbnail()
            working.cancel()
            await poll(job.has_thumbnail)
    finally:
        working.cancel()

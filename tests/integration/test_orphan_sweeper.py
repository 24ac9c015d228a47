"""Orphan objects are found a page at a time, and nothing that may be needed is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.execution.results import orphan_sweeper
from orchestrator.execution.results.object_deletion import ObjectDeleter
from orchestrator.execution.results.orphan_sweeper import OWNERS_PREFIX, OrphanPolicy, OrphanSweeper
from orchestrator.jobs import Attempt
from orchestrator.jobs.events import EventHub, ExecutionEvent, ObjectDeleted, ObjectDeletionFailed
from orchestrator.jobs.objects import DeletionReason, owned_object_key
from orchestrator.media.errors import ObjectNotFound, ObjectStoreUnavailable
from orchestrator.storage.object_store import ObjectStore, S3Config
from tests.support.polling import poll
from tests.support.s3_server import S3Server
from tests.support.store_harness import PICTURE, StoreHarness, open_world

GRACE = timedelta(hours=1)
SHA256 = PICTURE.sha256


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreHarness]:
    async with open_world("sqlite", tmp_path) as world:
        yield world


@pytest.fixture
async def objects(s3: S3Server) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(s3.access(f"orphans-{uuid4().hex[:8]}")) as objects:
        await objects.ensure_bucket(timeout=10)
        yield objects


class Cleaner:
    """A sweeper and its deleter at a time after now, and the events that they publish."""

    def __init__(self, world: StoreHarness, objects: ObjectStore, later: timedelta) -> None:
        def clock() -> datetime:
            return datetime.now(UTC) + later

        events = EventHub()
        self.seen: list[ExecutionEvent] = []
        events.add_observer(self.seen.append)
        self.deleter = ObjectDeleter(world.store, objects, events, clock)
        policy = OrphanPolicy(grace=GRACE, interval=0.05, clock=clock, mark_seconds=2.0)
        self.sweeper = OrphanSweeper(world.store, objects, self.deleter, policy)


async def attempted(world: StoreHarness, objects: ObjectStore) -> tuple[Attempt, str]:
    """A running attempt that has stored an output."""
    record = await world.add()
    prompt_id = str(uuid4())
    attempt = Attempt(
        prompt_id=prompt_id,
        shard_id=record.shards[0].id,
        number=1,
        instance_id="sim-0",
        started_at=world.later(),
    )
    assert await world.store.start_attempt(attempt)
    key = owned_object_key("outputs/", prompt_id, SHA256, "png")
    await objects.put(key, b"pixels", "image/png")
    return attempt, key


async def there(objects: ObjectStore, key: str) -> bool:
    try:
        await objects.stat(key)
    except ObjectNotFound:
        return False
    return True


async def test_deletes_orphans_only_after_their_grace_time(world: StoreHarness, objects: ObjectStore) -> None:
    attempt, key = await attempted(world, objects)
    await world.store.end_attempt(attempt.prompt_id, "instance_gone", None, world.later(), retry=True)
    early, late = Cleaner(world, objects, GRACE / 2), Cleaner(world, objects, GRACE * 2)
    assert await early.sweeper.sweep() == []
    assert await late.sweeper.sweep() == [key]
    assert await late.deleter.delete_due() == 1
    assert not await there(objects, key)
    assert late.seen == [ObjectDeleted(reason=DeletionReason.ORPHAN)]
    assert await late.sweeper.sweep() == []


async def test_leaves_what_a_job_or_a_running_attempt_needs(
    world: StoreHarness, objects: ObjectStore
) -> None:
    _, running = await attempted(world, objects)
    attempt, named = await attempted(world, objects)
    await world.store.finish_shard(
        attempt.prompt_id,
        [replace(PICTURE, key=named)],
        (await world.succeed()).shards[0].usage,
        world.later(),
    )
    cleaner = Cleaner(world, objects, timedelta(days=30))
    assert await cleaner.sweeper.sweep() == []
    assert [await there(objects, key) for key in (running, named)] == [True, True]


async def test_objects_of_earlier_versions_stay_as_long_as_a_job_names_them(
    world: StoreHarness, objects: ObjectStore
) -> None:
    named, orphan = (f"outputs/{name}/{name * 32}.png" for name in ("ab", "cd"))
    foreign = ("outputs/cd/of-an-operator.png", "outputs/readme.txt", "inputs/list.csv", "logs/today.txt")
    for key in (named, orphan, *foreign):
        await objects.put(key, b"pixels", "image/png")
    record = await world.finish(
        await world.start(await world.add()),
        [replace(PICTURE, key=named)],
    )
    assert await Cleaner(world, objects, GRACE * 2).sweeper.sweep() == [], "URLs last for a day"
    cleaner = Cleaner(world, objects, timedelta(days=2))
    assert await cleaner.sweeper.sweep() == [orphan]
    await cleaner.deleter.delete_due()
    assert [await there(objects, key) for key in (named, orphan, *foreign)] == [True, False, *[True] * 4]
    assert record.outputs[0].key == named


async def test_a_bucket_of_many_pages_is_swept_completely(world: StoreHarness, objects: ObjectStore) -> None:
    keys = [owned_object_key("inputs/", f"job_{number:04x}", SHA256, "png") for number in range(25)]
    await asyncio.gather(*(objects.put(key, b"pixels", "image/png") for key in keys))
    next_page = objects.list_objects("inputs/")
    pages = [[found.key for found in await next_page(10)] for _ in range(4)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert sorted(key for page in pages for key in page) == sorted(keys)
    cleaner = Cleaner(world, objects, GRACE * 2)
    assert sorted(await cleaner.sweeper.sweep()) == sorted(keys)
    assert await cleaner.deleter.delete_due() == 25


async def test_nothing_is_swept_in_a_bucket_of_two_installations(
    world: StoreHarness, objects: ObjectStore, tmp_path: Path
) -> None:
    attempt, key = await attempted(world, objects)
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(open_world("sqlite", tmp_path / "other"))
        mine, its = Cleaner(world, objects, GRACE * 2), Cleaner(other, objects, GRACE * 2)
        await mine.sweeper.mark_bucket()
        assert await its.sweeper.sweep() == [], "the other one does not know the running attempt"
        await world.store.end_attempt(attempt.prompt_id, "abandoned", None, world.later(), retry=True)
        assert await mine.sweeper.sweep() == []
        await objects.delete(OWNERS_PREFIX + await other.store.get_installation_id())
        assert await mine.sweeper.sweep() == [key]


async def test_sweeps_go_on_after_object_storage_was_unavailable(
    world: StoreHarness, objects: ObjectStore
) -> None:
    nowhere = S3Config(endpoint="http://127.0.0.1:1", access_key="a", secret_key="b" * 8, bucket="orphans")
    async with ObjectStore(nowhere) as away:
        with pytest.raises(ObjectStoreUnavailable):
            await Cleaner(world, away, GRACE * 2).sweeper.sweep()
    key = owned_object_key("outputs/", str(uuid4()), SHA256, "png")
    await objects.put(key, b"pixels", "image/png")
    cleaner = Cleaner(world, objects, GRACE * 2)
    cleaner.deleter.start()
    await cleaner.sweeper.start()
    await poll(lambda: there(objects, key), lambda found: not found)
    await cleaner.sweeper.stop()
    await cleaner.deleter.stop()


async def test_a_deletion_that_fails_is_retried_and_does_not_keep_the_caller(
    world: StoreHarness, objects: ObjectStore
) -> None:
    key = owned_object_key("outputs/", str(uuid4()), SHA256, "png")
    await world.store.discard_files([key], DeletionReason.UNUSED, datetime.now(UTC))
    nowhere = S3Config(endpoint="http://127.0.0.1:1", access_key="a", secret_key="b" * 8, bucket="orphans")
    async with ObjectStore(nowhere) as away:
        cleaner = Cleaner(world, away, timedelta())
        await cleaner.deleter.delete_condemned([key])
        assert cleaner.seen == [ObjectDeletionFailed()]
    later = Cleaner(world, objects, timedelta(minutes=10))
    await later.deleter.delete_condemned([key])
    assert later.seen == [ObjectDeleted(reason=DeletionReason.UNUSED)]
    await later.deleter.delete_condemned([key])
    assert await later.deleter.delete_due() == 0


def test_pages_are_bounded() -> None:
    assert orphan_sweeper.PAGE_SIZE <= 1000
    assert orphan_sweeper.PAGE_PAUSE_SECONDS > 0

"""Which files nobody needs any more: one suite for every store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from orchestrator.jobs import JobError, JobRecord, Output
from tests.support.store_harness import PICTURE, StoreHarness

ALL = 100
A, B = replace(PICTURE, key="outputs/aa/a.png"), replace(PICTURE, key="outputs/bb/b.png")


async def done(world: StoreHarness, *outputs: Output) -> JobRecord:
    return await world.finish(await world.start(await world.add()), outputs)


def after(record: JobRecord) -> datetime:
    """The first moment at which the job counts as expired."""
    assert record.job.finished_at is not None
    return record.job.finished_at + timedelta(microseconds=1)


async def unused(world: StoreHarness, before: datetime, limit: int = ALL) -> Sequence[str]:
    return await world.store.list_unused_files(before, limit)


async def test_files_of_expired_jobs_are_unused(world: StoreHarness) -> None:
    record = await done(world, A, B)
    assert record.job.finished_at is not None
    assert await unused(world, record.job.finished_at) == []
    assert sorted(await unused(world, after(record))) == [A.key, B.key]


async def test_a_file_is_needed_as_long_as_one_job_needs_it(world: StoreHarness) -> None:
    first, second = await done(world, A), await done(world, A, B)
    assert await unused(world, after(first)) == []
    assert sorted(await unused(world, after(second))) == [A.key, B.key]


async def test_an_unfinished_job_needs_the_files_of_its_shards(world: StoreHarness) -> None:
    expired = await done(world, A)
    record = await world.add(n=2)
    await world.finish(await world.start(record, 0), (A, B))
    assert await unused(world, world.later()) == []
    finished = await world.finish(await world.start(record, 1), (B,))
    assert await unused(world, after(expired)) == []
    assert sorted(await unused(world, after(finished))) == [A.key, B.key]


@pytest.mark.parametrize("how", ["fail", "cancel"])
async def test_what_a_lost_job_has_made_goes_too(world: StoreHarness, how: str) -> None:
    record = await world.add(n=2)
    await world.finish(await world.start(record, 0), (A,))
    now = world.later()
    if how == "fail":
        await world.store.fail_job(record.job.id, JobError(code="no", message="No."), now)
    else:
        await world.store.cancel_job(record.job.id, now)
    assert await unused(world, now) == []
    assert await unused(world, world.later()) == [A.key]


async def test_forgotten_files_are_not_listed_again(world: StoreHarness) -> None:
    record = await done(world, A, B)
    await world.store.delete_file_records([A.key], after(record))
    assert await unused(world, after(record)) == [B.key]
    await world.store.delete_file_records([A.key, B.key, "outputs/cc/never.png"], after(record))
    assert await unused(world, after(record)) == []
    assert (await world.again(record)).outputs == [A, B], "the job itself stays as it was"


async def test_forgetting_leaves_what_a_later_job_has_made(world: StoreHarness) -> None:
    first = await done(world, A)
    second = await done(world, A)
    await world.store.delete_file_records([A.key], after(first))
    assert await unused(world, after(first)) == []
    assert await unused(world, after(second)) == [A.key]


async def test_files_made_again_after_their_deletion_expire_again(world: StoreHarness) -> None:
    first = await done(world, A)
    await world.store.delete_file_records([A.key], after(first))
    second = await done(world, A)
    assert await unused(world, after(second)) == [A.key]


async def test_the_longest_unneeded_come_first_and_a_few_at_a_time(world: StoreHarness) -> None:
    await done(world, B)
    await done(world, A)
    last = await done(world, replace(PICTURE, key="outputs/00/c.png"))
    assert await unused(world, after(last), limit=2) == [B.key, A.key]


async def test_finishing_twice_changes_nothing(world: StoreHarness) -> None:
    attempt = await world.start(await world.add())
    record = await world.finish(attempt, (A,))
    await world.store.delete_file_records([A.key], after(record))
    await world.finish(attempt, (B,))
    assert await unused(world, world.later()) == []


async def test_a_removed_job_gives_up_what_no_other_job_needs(world: StoreHarness) -> None:
    first, second = await done(world, A, B), await done(world, A)
    assert await world.store.remove_job(first.job.id, world.now) == [B.key]
    assert await unused(world, after(second)) == [A.key]
    assert await world.store.remove_job(second.job.id, world.now) == [A.key]
    assert await unused(world, after(second)) == []

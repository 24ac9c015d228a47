"""Which objects jobs need, and which are deleted: one suite for every store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from orchestrator.errors import Gone, NotFound, ServiceUnavailable
from orchestrator.jobs import Attempt, JobError, JobRecord, JobStatus, Output, create_shards
from orchestrator.jobs.objects import INPUT_PREFIX, DeletionReason, owned_object_key
from tests.support.store_harness import PICTURE, USAGE, StoreHarness, open_store

ALL = 100
A, B = replace(PICTURE, key="outputs/aa/a.png"), replace(PICTURE, key="outputs/bb/b.png")


async def done(world: StoreHarness, *outputs: Output) -> JobRecord:
    return await world.finish(await world.start(await world.add()), outputs)


def after(record: JobRecord) -> datetime:
    """The first moment at which the job counts as expired."""
    assert record.job.finished_at is not None
    return record.job.finished_at + timedelta(microseconds=1)


async def expire(world: StoreHarness, before: datetime, limit: int = ALL) -> Sequence[str]:
    return await world.store.expire_files(before, limit, world.now)


async def condemned(world: StoreHarness) -> dict[str, DeletionReason]:
    due = await world.store.list_due_deletions(world.now + timedelta(days=1), ALL)
    return {deletion.key: deletion.reason for deletion in due}


async def attempted(world: StoreHarness, number: int = 1) -> tuple[Attempt, Output]:
    """A running attempt with a prompt id as the service gives it, and the output that it has stored."""
    record = await world.add()
    prompt_id = str(UUID(int=number + len(record.job.id) * 1000 + int(world.now.timestamp())))
    attempt = replace(world.attempt(record), prompt_id=prompt_id)
    assert await world.store.start_attempt(attempt)
    key = owned_object_key("outputs/", prompt_id, PICTURE.sha256, "png")
    return attempt, replace(PICTURE, key=key)


async def test_files_of_expired_jobs_are_condemned(world: StoreHarness) -> None:
    record = await done(world, A, B)
    assert record.job.finished_at is not None
    assert await expire(world, record.job.finished_at) == []
    assert sorted(await expire(world, after(record))) == [A.key, B.key]
    assert await condemned(world) == dict.fromkeys([A.key, B.key], DeletionReason.EXPIRED)
    assert await expire(world, after(record)) == []
    assert (await world.again(record)).outputs == [A, B], "the job itself stays as it was"


async def test_a_file_of_an_earlier_version_is_needed_as_long_as_one_job_needs_it(
    world: StoreHarness,
) -> None:
    first, second = await done(world, A), await done(world, A, B)
    assert await expire(world, after(first)) == []
    assert sorted(await expire(world, after(second))) == [A.key, B.key]


async def test_an_unfinished_job_needs_the_files_of_its_shards(world: StoreHarness) -> None:
    record = await world.add(n=2)
    await world.finish(await world.start(record, 0), (A,))
    assert await expire(world, world.later()) == []
    finished = await world.finish(await world.start(record, 1), (B,))
    assert sorted(await expire(world, after(finished))) == [A.key, B.key]


@pytest.mark.parametrize("how", ["fail", "cancel"])
async def test_files_of_a_job_that_failed_expire_too(world: StoreHarness, how: str) -> None:
    record = await world.add(n=2)
    await world.finish(await world.start(record, 0), (A,))
    now = world.later()
    if how == "fail":
        await world.store.fail_job(record.job.id, JobError(code="no", message="No."), now)
    else:
        await world.store.cancel_job(record.job.id, now)
    assert await expire(world, now) == []
    assert await expire(world, world.later()) == [A.key]


async def test_the_longest_unneeded_come_first_and_a_few_at_a_time(world: StoreHarness) -> None:
    await done(world, B)
    await done(world, A)
    last = await done(world, replace(PICTURE, key="outputs/00/c.png"))
    assert await expire(world, after(last), limit=2) == [B.key, A.key]
    assert await expire(world, after(last), limit=2) == ["outputs/00/c.png"]


async def test_a_removed_job_condemns_what_no_other_job_needs(world: StoreHarness) -> None:
    first, second = await done(world, A, B), await done(world, A)
    assert await world.store.remove_job(first.job.id, world.now) == [B.key]
    assert await condemned(world) == {B.key: DeletionReason.REMOVED}
    assert await world.store.remove_job(second.job.id, world.now) == [A.key]
    assert await world.store.remove_job(second.job.id, world.now) == []
    assert set(await condemned(world)) == {A.key, B.key}
    assert await expire(world, after(second)) == []


async def test_deletions_survive_a_restart(store_kind: str, world: StoreHarness, tmp_path: Path) -> None:
    record = await done(world, A)
    await world.store.remove_job(record.job.id, world.now)
    installation = await world.store.get_installation_id()
    again = open_store(store_kind, tmp_path)
    try:
        assert [one.key for one in await again.list_due_deletions(world.now, ALL)] == [A.key]
        assert await again.get_installation_id() == installation
    finally:
        await again.close()


async def test_a_finished_deletion_is_not_due_again(world: StoreHarness) -> None:
    record = await done(world, A, B)
    await world.store.remove_job(record.job.id, world.now)
    assert await world.store.finish_deletions([A.key, "outputs/cc/never.png"], world.now) == [A.key]
    assert await world.store.finish_deletions([A.key], world.now) == []
    assert set(await condemned(world)) == {B.key}


async def test_a_postponed_deletion_waits_and_counts_its_tries(world: StoreHarness) -> None:
    record = await done(world, A, B)
    await world.store.remove_job(record.job.id, world.now)
    later = world.now + timedelta(seconds=5)
    await world.store.postpone_deletion(A.key, later)
    assert [one.key for one in await world.store.list_due_deletions(world.now, ALL)] == [B.key]
    due = await world.store.list_due_deletions(later, ALL)
    assert [(one.key, one.attempts) for one in due] == [(B.key, 0), (A.key, 1)]
    assert [one.key for one in await world.store.list_due_deletions(later, 1)] == [B.key]


@pytest.mark.parametrize("how", ["cancelled", "finished by another attempt"])
async def test_outputs_that_a_shard_does_not_take_are_condemned(world: StoreHarness, how: str) -> None:
    attempt, output = await attempted(world)
    job_id = attempt.shard_id.rpartition("-")[0]
    if how == "cancelled":
        await world.store.cancel_job(job_id, world.later())
    else:
        await world.store.end_attempt(attempt.prompt_id, "stalled", None, world.later(), retry=True)
        record = await world.store.find_job(job_id)
        assert record is not None
        await world.finish(await world.start(record, 0, number=2), (A,))
    await world.finish(attempt, (output,))
    assert await condemned(world) == {output.key: DeletionReason.UNUSED}


async def test_finishing_twice_condemns_nothing(world: StoreHarness) -> None:
    attempt, output = await attempted(world)
    await world.finish(attempt, (output,))
    record = await world.finish(attempt, (output,))
    assert record.job.status is JobStatus.SUCCEEDED
    assert await condemned(world) == {}


async def test_orphans_are_condemned_and_what_is_needed_or_may_be_is_not(world: StoreHarness) -> None:
    running, may_be_named = await attempted(world, 1)
    ended, orphan = await attempted(world, 2)
    await world.store.end_attempt(ended.prompt_id, "abandoned", None, world.later(), retry=True)
    finished, named = await attempted(world, 3)
    await world.finish(finished, (named,))
    unknown = owned_object_key("outputs/", str(UUID(int=7)), "cd" * 32, "png")
    old = "outputs/ab/" + "ab" * 32 + ".png"
    keys = [may_be_named.key, orphan.key, named.key, unknown, old, orphan.key]
    found = await world.store.discard_files(keys, DeletionReason.ORPHAN, world.now)
    assert found == [orphan.key, unknown, old]
    assert await condemned(world) == dict.fromkeys(found, DeletionReason.ORPHAN)
    assert await world.store.discard_files(keys, DeletionReason.ORPHAN, world.now) == []
    record = await world.finish(running, (may_be_named,))
    assert record.job.status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_condemned_object_is_never_the_output_of_a_job(world: StoreHarness, is_deleted: bool) -> None:
    """The result of an attempt that was given up comes after its object was found as an orphan."""
    attempt, output = await attempted(world)
    await world.store.end_attempt(attempt.prompt_id, "abandoned", None, world.later(), retry=True)
    assert await world.store.discard_files([output.key], DeletionReason.ORPHAN, world.now) == [output.key]
    if is_deleted:
        await world.store.finish_deletions([output.key], world.now)
    record = await world.finish(attempt, (output,))
    assert (record.job.status, record.outputs) == (JobStatus.RUNNING, [])
    record = await world.finish(await world.start(record, 0, number=2), (A,))
    assert (record.job.status, record.outputs) == (JobStatus.SUCCEEDED, [A])


async def test_deletions_are_forgotten_after_a_day(world: StoreHarness) -> None:
    record = await done(world, A)
    await world.store.remove_job(record.job.id, world.now)
    await world.store.finish_deletions([A.key], world.now)
    other = await done(world, B)
    with pytest.raises(Gone):
        await world.store.add_job_file(other.job.id, A.key)
    await world.store.finish_deletions([], world.now + timedelta(days=2))
    await world.store.add_job_file(other.job.id, A.key)


def input_key(job_id: str) -> str:
    return owned_object_key(INPUT_PREFIX, job_id, "ef" * 32, "png")


async def test_input_files_are_needed_until_their_job_expires_or_is_removed(world: StoreHarness) -> None:
    jobs = [world.job(), world.job()]
    keys = [input_key(job.id) for job in jobs]
    for job, key in zip(jobs, keys, strict=True):
        assert (await world.store.add_job(job, create_shards(job, 1), [key]))[1]
    assert await world.store.discard_files(keys, DeletionReason.ORPHAN, world.now) == []
    await world.store.cancel_job(jobs[0].id, world.later())
    assert await expire(world, world.later()) == [keys[0]]
    await world.store.cancel_job(jobs[1].id, world.later())
    assert await world.store.remove_job(jobs[1].id, world.now) == [keys[1]]


async def test_a_job_is_refused_if_its_input_file_is_condemned(world: StoreHarness) -> None:
    job = world.job()
    key = input_key(job.id)
    assert await world.store.discard_files([key], DeletionReason.ORPHAN, world.now) == [key]
    with pytest.raises(ServiceUnavailable, match="send the request again"):
        await world.store.add_job(job, create_shards(job, 1), [key])
    assert await world.store.find_job(job.id) is None
    assert await world.wallet() == (1_000_000, 0)


async def test_a_file_made_from_an_output_goes_with_its_job(world: StoreHarness) -> None:
    record = await done(world, A)
    await world.store.add_job_file(record.job.id, B.key)
    await world.store.add_job_file(record.job.id, B.key)
    assert sorted(await expire(world, after(record))) == [A.key, B.key]
    other = await done(world, replace(A, key="outputs/dd/d.png"))
    await world.store.remove_job(other.job.id, world.now)
    with pytest.raises(Gone):
        await world.store.add_job_file(other.job.id, "outputs/ee/e.png")
    with pytest.raises(NotFound):
        await world.store.add_job_file("nothing", "outputs/ee/e.png")


async def test_usage_of_a_removed_job_stays(world: StoreHarness) -> None:
    record = await world.finish(await world.start(await world.add()), (A,), USAGE)
    await world.store.remove_job(record.job.id, world.now)
    assert (await world.again(record)).shards[0].usage == USAGE

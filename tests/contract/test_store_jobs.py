"""Jobs, shards and attempts: one suite for every store. The books are audited after each test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.errors import Conflict, InsufficientBalance, InvalidRequest, NotFound
from orchestrator.jobs import Attempt, Job, JobError, JobRecord, JobStatus, Shard, ShardStatus, create_shards
from tests.support.store_harness import PICTURE, STORES, USAGE, StoreHarness, open_store, open_world

ERROR = JobError(code="generation_failed", message="The GPU ran out of memory.")


async def test_returns_a_job_as_it_was_added(world: StoreHarness) -> None:
    job = world.job(
        params={"prompt": "a \ud800 \0 fox", "seed": 2**64 - 2, "cfg": 1.5, "loras": [{"name": "x"}]},
        idempotency_key="order 66",
        request_digest="d" * 64,
        webhook_url="https://example.com/webhook",
        webhook_statuses=frozenset({JobStatus.FAILED, JobStatus.CANCELLED}),
        origin="pixazo/flux-dev",
        output_type="image/webp",
        output_quality=80,
    )
    record, created = await world.store.add_job(job, create_shards(job, 2))
    assert created
    assert record == await world.again(record)
    assert record.job == job
    assert [shard.params["seed"] for shard in record.shards] == [2**64 - 2, 2**64 - 1]


def first_attempt(world: StoreHarness, job: Job, shards: Sequence[Shard]) -> Attempt:
    """The attempt of the first shard of a job that is not stored yet."""
    return world.attempt(JobRecord(job=job, shards=tuple(shards)))


async def test_starts_the_first_attempts_with_the_job(world: StoreHarness) -> None:
    job = world.job()
    shards = create_shards(job, 2)
    accepted, created = await world.store.add_job(job, shards, (), [first_attempt(world, job, shards)])
    assert (created, accepted.job.status) == (True, JobStatus.QUEUED), "the job as it was accepted"
    stored = await world.again(accepted)
    assert stored.job.status is JobStatus.RUNNING
    assert [shard.status for shard in stored.shards] == [ShardStatus.RUNNING, ShardStatus.WAITING]
    (attempt,) = await world.store.list_open_attempts()
    assert attempt.shard_id == shards[0].id
    assert (await world.finish(attempt)).shards[0].status is ShardStatus.SUCCEEDED


async def test_a_job_that_is_not_accepted_starts_no_attempt(world: StoreHarness) -> None:
    first = await world.add(idempotency_key="k", request_digest="d")
    replay = world.job(idempotency_key="k", request_digest="d")
    shards = create_shards(replay, 1)
    record, created = await world.store.add_job(replay, shards, (), [first_attempt(world, replay, shards)])
    assert (record.job.id, created) == (first.job.id, False)
    expensive = world.job(price=10_000_000)
    shards = create_shards(expensive, 1)
    with pytest.raises(InsufficientBalance):
        await world.store.add_job(expensive, shards, (), [first_attempt(world, expensive, shards)])
    assert await world.store.list_open_attempts() == []


async def test_accepting_a_job_holds_its_price(world: StoreHarness) -> None:
    await world.add(price=300_000)
    assert await world.wallet() == (700_000, 300_000)


async def test_a_new_idempotency_key_repeats_nothing(world: StoreHarness) -> None:
    assert await world.store.find_job_by_idempotency_key(world.job()) is None
    assert (
        await world.store.find_job_by_idempotency_key(world.job(idempotency_key="k", request_digest="d"))
        is None
    )


async def test_rejects_a_job_without_funds(world: StoreHarness) -> None:
    with pytest.raises(InsufficientBalance) as caught:
        await world.add(price=1_000_001)
    assert caught.value.details == {
        "balance_usd": 1.0,
        "held_usd": 0.0,
        "available_usd": 1.0,
        "required_usd": 1.000001,
    }
    assert await world.wallet() == (1_000_000, 0)
    assert (await world.store.list_jobs()).items == []


async def test_held_money_cannot_be_held_again(world: StoreHarness) -> None:
    await world.add(price=600_000)
    with pytest.raises(InsufficientBalance):
        await world.add(price=600_000)


async def test_the_last_micro_dollar_can_be_spent(world: StoreHarness) -> None:
    await world.succeed(price=1_000_000)
    assert await world.wallet() == (0, 0)


async def test_a_free_job_needs_no_money(world: StoreHarness) -> None:
    record = await world.succeed(price=0)
    assert record.job.status is JobStatus.SUCCEEDED
    assert await world.wallet() == (1_000_000, 0)


async def test_rejects_a_job_of_an_unknown_account(world: StoreHarness) -> None:
    with pytest.raises(NotFound):
        await world.add(account_id="acct_nobody")


async def test_a_job_needs_shards(world: StoreHarness) -> None:
    with pytest.raises(ValueError, match="with shards"):
        await world.store.add_job(world.job(), [])


async def test_the_same_request_again_is_the_same_job(world: StoreHarness) -> None:
    first = await world.add(idempotency_key="k", request_digest="same")
    second = world.job(idempotency_key="k", request_digest="same")
    record, created = await world.store.add_job(second, create_shards(second, 1))
    assert (record, created) == (first, False)
    assert await world.store.find_job_by_idempotency_key(second) == first
    assert await world.wallet() == (990_000, 10_000)


async def test_the_same_request_again_is_found_after_it_is_finished(world: StoreHarness) -> None:
    first = await world.succeed(idempotency_key="k", request_digest="same", price=1_000_000)
    second = world.job(idempotency_key="k", request_digest="same", price=1_000_000)
    assert await world.store.add_job(second, create_shards(second, 1)) == (first, False)


async def test_another_request_under_the_same_key_is_a_conflict(world: StoreHarness) -> None:
    await world.add(idempotency_key="k", request_digest="one")
    with pytest.raises(Conflict):
        await world.store.find_job_by_idempotency_key(world.job(idempotency_key="k", request_digest="other"))
    with pytest.raises(Conflict) as caught:
        await world.add(idempotency_key="k", request_digest="other")
    assert caught.value.code == "idempotency_conflict"


async def test_idempotency_keys_belong_to_their_account(world: StoreHarness) -> None:
    other = await world.store.add_account("Bob", "free", world.now)
    await world.store.credit(other.id, 10_000, "opening", world.now)
    await world.add(idempotency_key="k", request_digest="one")
    await world.add(idempotency_key="k", request_digest="other", account_id=other.id)


async def test_fifty_at_once_under_one_key_are_one_job(world: StoreHarness) -> None:
    async def submit() -> tuple[str, bool]:
        job = world.job(idempotency_key="k", request_digest="same")
        record, created = await world.store.add_job(job, create_shards(job, 1))
        return record.job.id, created

    answers = await asyncio.gather(*(submit() for _ in range(50)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert [created for _, created in answers].count(True) == 1
    assert await world.wallet() == (990_000, 10_000)


async def test_the_same_job_twice_is_one_job(world: StoreHarness) -> None:
    record = await world.add()
    assert await world.store.add_job(record.job, record.shards) == (record, False)


async def test_unknown_ids_are_not_found(world: StoreHarness) -> None:
    assert await world.store.find_job("nothing") is None
    with pytest.raises(NotFound):
        await world.store.cancel_job("nothing", world.now)
    with pytest.raises(NotFound):
        await world.store.fail_job("nothing", ERROR, world.now)
    with pytest.raises(NotFound):
        await world.store.finish_shard("nothing", [PICTURE], USAGE, world.now)
    with pytest.raises(NotFound):
        await world.store.end_attempt("nothing", "ok", None, world.now, retry=False)


async def test_jobs_are_listed_newest_first_in_pages(world: StoreHarness) -> None:
    added = [(await world.add()).job.id for _ in range(5)]
    page = await world.store.list_jobs(limit=2)
    seen = [record.job.id for record in page.items]
    while page.cursor is not None:
        page = await world.store.list_jobs(limit=2, cursor=page.cursor)
        seen.extend(record.job.id for record in page.items)
    assert seen == added[::-1]


async def test_jobs_are_listed_by_account_and_status(world: StoreHarness) -> None:
    other = await world.store.add_account("Bob", "free", world.now)
    await world.store.credit(other.id, 10_000, "opening", world.now)
    mine, done, theirs = await world.add(), await world.succeed(), await world.add(account_id=other.id)

    async def ids(account_id: str | None, status: JobStatus | None = None) -> list[str]:
        page = await world.store.list_jobs(account_id, status=status)
        return [record.job.id for record in page.items]

    assert await ids(world.account.id) == [done.job.id, mine.job.id]
    assert await ids(world.account.id, JobStatus.SUCCEEDED) == [done.job.id]
    assert await ids(None, JobStatus.QUEUED) == [theirs.job.id, mine.job.id]
    with pytest.raises(InvalidRequest):
        await world.store.list_jobs(other.id, cursor=mine.job.id)


async def test_jobs_are_listed_by_model_and_from_either_end(world: StoreHarness) -> None:
    films = [(await world.add(model=f"film-{number % 2}")).job.id for number in range(3)]
    await world.add()
    page = await world.store.list_jobs(
        world.account.id, limit=2, models=["film-0", "film-1"], oldest_first=True
    )
    rest = await world.store.list_jobs(
        world.account.id, cursor=page.cursor, models=["film-0", "film-1"], oldest_first=True
    )
    assert [record.job.id for record in (*page.items, *rest.items)] == films
    one = await world.store.list_jobs(models=["film-1"])
    assert [record.job.id for record in one.items] == films[1:2]
    assert (await world.store.list_jobs(models=[])).items == []


async def test_a_removed_job_is_hidden_from_its_account_alone(world: StoreHarness) -> None:
    kept, gone = await world.add(), await world.succeed()
    await world.store.remove_job(gone.job.id, world.now)
    first = (await world.again(gone)).job.removed_at
    await world.store.remove_job(gone.job.id, world.later())
    assert first == (await world.again(gone)).job.removed_at
    assert first is not None
    assert [record.job.id for record in (await world.store.list_jobs(world.account.id)).items] == [
        kept.job.id
    ]
    assert len((await world.store.list_jobs()).items) == 2
    with pytest.raises(NotFound):
        await world.store.remove_job("nothing", world.now)


@pytest.mark.parametrize("cursor", ["", "nothing", "\ud800"])
async def test_a_made_up_cursor_is_refused(world: StoreHarness, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        await world.store.list_jobs(cursor=cursor)


@pytest.mark.parametrize("kind", STORES)
async def test_a_restart_finds_what_is_unfinished(kind: str, tmp_path: Path) -> None:
    async with open_world(kind, tmp_path) as world:
        waiting, running = await world.add(n=2), await world.add()
        attempt = await world.start(running)
        await world.succeed()
        expected = [await world.again(waiting), await world.again(running)]
    store = open_store(kind, tmp_path)
    try:
        assert await store.list_unfinished_jobs() == expected
        assert await store.list_open_attempts() == [attempt]
        assert await store.audit_ledger() == []
    finally:
        await store.close()


async def test_lists_the_newest_unfinished_jobs(world: StoreHarness) -> None:
    oldest, middle, newest = await world.add(n=2), await world.add(), await world.add()
    await world.succeed()
    await world.start(middle)
    assert await world.store.list_newest_unfinished(10) == [one.job.id for one in (newest, middle, oldest)]
    assert await world.store.list_newest_unfinished(2) == [newest.job.id, middle.job.id]


async def test_finds_which_jobs_are_finished(world: StoreHarness) -> None:
    waiting, done, cancelled = await world.add(), await world.succeed(), await world.add()
    await world.store.cancel_job(cancelled.job.id, world.now)
    asked = [waiting.job.id, done.job.id, cancelled.job.id, "nothing"]
    assert set(await world.store.find_finished(asked)) == {done.job.id, cancelled.job.id}
    assert await world.store.find_finished([]) == []

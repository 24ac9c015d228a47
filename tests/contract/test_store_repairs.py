"""Undelivered responses, freed idempotency keys and broken jobs: one suite for every store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.jobs import (
    REPEATABLE_FAILURES,
    FailureKind,
    JobError,
    JobRecord,
    JobStatus,
    PendingResponse,
    ShardStatus,
    create_shards,
)
from orchestrator.store.memory import MemoryStore
from orchestrator.store.memory.tables import MemoryTables
from orchestrator.store.sql.store import SqlStore
from tests.support.repeats import first_always
from tests.support.store_harness import PICTURE, START, USAGE, StoreHarness

LASTING_FAILURES = [kind for kind in FailureKind if kind not in REPEATABLE_FAILURES]


async def damage(world: StoreHarness, sql: str, change: Callable[[MemoryTables], object]) -> None:
    """Do to the stored rows what no operation of the store does."""
    if isinstance(world.store, SqlStore):
        await world.store._db.write(lambda db: db.execute(sql).rowcount)
    else:
        assert isinstance(world.store, MemoryStore)
        change(world.store._tables)


async def finish_and_break(world: StoreHarness, record: JobRecord) -> None:
    """Let every shard succeed and leave the job running, as a store without transactions would."""
    for index in range(len(record.shards)):
        await world.start(record, index)

    def change(tables: MemoryTables) -> None:
        tables.shards[record.job.id] = tuple(
            shard.transition_to(ShardStatus.SUCCEEDED, outputs=(PICTURE,), usage=USAGE)
            for shard in tables.shards[record.job.id]
        )

    outputs = (
        '[{"key": "outputs/ab/abcd.png", "content_type": "image/png", "size": 9, "sha256": "ab", '
        '"width": 64, "height": 64, "frames": null, "fps": null}]'
    )
    await damage(world, f"UPDATE shards SET status = 'succeeded', outputs = '{outputs}'", change)


@pytest.mark.parametrize("kind", first_always(sorted(REPEATABLE_FAILURES), always=2))
async def test_a_failure_that_may_have_passed_frees_the_key(world: StoreHarness, kind: FailureKind) -> None:
    first = await world.add(idempotency_key="k", request_digest="same")
    await world.store.fail_job(first.job.id, JobError(code=kind.value, message="!"), world.later())
    repeated = world.job(idempotency_key="k", request_digest="same")
    assert await world.store.find_job_by_idempotency_key(repeated) is None
    second, created = await world.store.add_job(repeated, create_shards(repeated, 1))
    assert (created, second.job.id) == (True, repeated.id)
    assert (await world.again(first)).job.idempotency_key is None
    again = world.job(idempotency_key="k", request_digest="same")
    assert await world.store.add_job(again, create_shards(again, 1)) == (second, False)


@pytest.mark.parametrize("kind", first_always(LASTING_FAILURES, always=2))
async def test_a_lasting_failure_keeps_the_key(world: StoreHarness, kind: FailureKind) -> None:
    first = await world.add(idempotency_key="k", request_digest="same")
    failed = await world.store.fail_job(first.job.id, JobError(code=kind.value, message="!"), world.later())
    repeated = world.job(idempotency_key="k", request_digest="same")
    assert await world.store.add_job(repeated, create_shards(repeated, 1)) == (failed, False)


async def test_a_freed_key_accepts_another_request(world: StoreHarness) -> None:
    first = await world.add(idempotency_key="k", request_digest="one")
    error = JobError(code=FailureKind.STORE_UNAVAILABLE.value, message="!")
    await world.store.fail_job(first.job.id, error, world.later())
    await world.add(idempotency_key="k", request_digest="other")


async def test_a_freed_key_keeps_its_failed_job_if_the_money_is_missing(world: StoreHarness) -> None:
    first = await world.add(idempotency_key="k", request_digest="same")
    error = JobError(code=FailureKind.EXPIRED.value, message="!")
    await world.store.fail_job(first.job.id, error, world.later())
    expensive = world.job(10**9, idempotency_key="k", request_digest="same")
    with pytest.raises(Exception, match="Insufficient"):
        await world.store.add_job(expensive, create_shards(expensive, 1))
    assert (await world.again(first)).job.idempotency_key == "k"


async def test_finds_the_jobs_whose_response_was_not_sent(world: StoreHarness) -> None:
    same: dict[str, Any] = {"request_digest": "d", "pending_response": PendingResponse.RESULT}
    old = await world.add(**same)
    since = world.later()
    succeeded = await world.succeed(**same)
    waiting = await world.add(request_digest="d", pending_response=PendingResponse.ID)
    await world.add(request_digest="d")
    await world.add(request_digest="other", pending_response=PendingResponse.RESULT)
    await world.add(request_digest="d", pending_response=PendingResponse.RESULT, key_id="another")
    cancelled = await world.add(**same)
    await world.store.cancel_job(cancelled.job.id, world.later())
    sent = await world.succeed(**same)
    await world.store.record_response(sent.job.id, None)
    found = await world.store.find_undelivered_jobs(world.job(request_digest="d"), since)
    assert [record.job.id for record in found] == [succeeded.job.id, waiting.job.id]
    assert old.job.id in {
        record.job.id
        for record in await world.store.find_undelivered_jobs(world.job(request_digest="d"), START)
    }


async def test_only_a_succeeded_job_can_be_lost(world: StoreHarness) -> None:
    record = await world.add(pending_response=PendingResponse.RESULT)
    await world.store.record_response(record.job.id, PendingResponse.LOST)
    assert (await world.again(record)).job.pending_response is PendingResponse.RESULT
    await world.finish(await world.start(record))
    await world.store.record_response(record.job.id, PendingResponse.LOST)
    assert (await world.again(record)).job.pending_response is PendingResponse.LOST


async def test_a_job_that_its_caller_can_ask_for_is_never_pending(world: StoreHarness) -> None:
    record = await world.succeed()
    await world.store.record_response(record.job.id, PendingResponse.LOST)
    assert (await world.again(record)).job.pending_response is None


async def test_refunds_a_result_that_was_not_sent_once(world: StoreHarness) -> None:
    record = await world.succeed(price=10_000, pending_response=PendingResponse.RESULT)
    assert [found.job.id for found in await world.store.list_unsent_results(world.later())] == [record.job.id]
    assert await world.wallet() == (990_000, 0)
    for _ in range(2):
        refunded = await world.store.refund_unsent_result(record.job.id, world.later())
        assert refunded.job.pending_response is None
        assert await world.wallet() == (1_000_000, 0)
    assert await world.store.list_unsent_results(world.later()) == []


async def test_refunds_what_is_left_of_the_charge(world: StoreHarness) -> None:
    record = await world.succeed(price=10_000, pending_response=PendingResponse.RESULT)
    await world.store.refund(record.job.id, 4_000, "support", world.later())
    await world.store.refund_unsent_result(record.job.id, world.later())
    assert await world.wallet() == (1_000_000, 0)


async def test_does_not_refund_a_result_that_was_sent_lost_or_is_recent(world: StoreHarness) -> None:
    before = world.now
    for pending in (None, PendingResponse.LOST):
        record = await world.succeed(pending_response=PendingResponse.RESULT)
        await world.store.record_response(record.job.id, pending)
        await world.store.refund_unsent_result(record.job.id, world.later())
    assert await world.store.list_unsent_results(world.later()) == []
    await world.succeed(pending_response=PendingResponse.RESULT)
    assert await world.store.list_unsent_results(before) == []
    assert (await world.wallet())[0] == 970_000


async def test_a_free_job_that_was_not_sent_needs_no_refund(world: StoreHarness) -> None:
    record = await world.succeed(price=0, pending_response=PendingResponse.RESULT)
    await world.store.refund_unsent_result(record.job.id, world.later())
    assert (await world.again(record)).job.pending_response is None
    assert await world.wallet() == (1_000_000, 0)


async def test_finds_attempts_by_prompt_id(world: StoreHarness) -> None:
    record = await world.add(n=2)
    first, second = await world.start(record, 0), await world.start(record, 1)
    await world.finish(first)
    found = await world.store.find_attempts([first.prompt_id, second.prompt_id, "somebody else's"])
    assert {one.prompt_id: one.ended_at is None for one in found} == {
        first.prompt_id: False,
        second.prompt_id: True,
    }


async def test_whole_jobs_have_no_defect_and_are_left_alone(world: StoreHarness) -> None:
    records = [await world.add(), await world.succeed(), await world.add(n=2), await world.add(price=0)]
    await world.start(records[2])
    cancelled = await world.add()
    records.append(await world.store.cancel_job(cancelled.job.id, world.later()))
    assert await world.store.list_defects() == []
    for record in records:
        before = await world.again(record)
        assert await world.store.mend_job(record.job.id, world.later()) == before


async def test_a_running_shard_without_attempt_waits_again(world: StoreHarness) -> None:
    record = await world.add(n=2)
    attempt = await world.start(record)

    def end(tables: MemoryTables) -> None:
        running = tables.attempts[attempt.prompt_id]
        tables.attempts[attempt.prompt_id] = replace(running, ended_at=START, outcome="internal")

    await damage(world, f"UPDATE attempts SET ended_at = '{START.isoformat()}', outcome = 'internal'", end)
    assert await world.store.list_defects() == [("shard_without_attempt", record.job.id)]
    mended = await world.store.mend_job(record.job.id, world.later())
    assert [shard.status for shard in mended.shards] == [ShardStatus.WAITING] * 2
    assert await world.store.list_defects() == []
    assert await world.wallet() == (990_000, 10_000)


async def test_a_job_whose_shards_have_all_succeeded_is_charged(world: StoreHarness) -> None:
    record = await world.add(n=2)
    await finish_and_break(world, record)
    assert await world.store.list_defects() == [("unfinished_job", record.job.id)]
    mended = await world.store.mend_job(record.job.id, world.later())
    assert mended.job.status is JobStatus.SUCCEEDED
    assert await world.wallet() == (990_000, 0)


async def test_an_unfinished_job_with_a_failed_shard_fails_without_charge(world: StoreHarness) -> None:
    record = await world.add(n=2)

    def change(tables: MemoryTables) -> None:
        first, second = tables.shards[record.job.id]
        tables.shards[record.job.id] = (first, second.transition_to(ShardStatus.FAILED))

    await damage(world, "UPDATE shards SET status = 'failed' WHERE position = 1", change)
    assert await world.store.list_defects() == [("ended_shard", record.job.id)]
    mended = await world.store.mend_job(record.job.id, world.later())
    assert mended.job.status is JobStatus.FAILED
    assert mended.job.error is not None
    assert mended.job.error.code == "internal"
    assert await world.wallet() == (1_000_000, 0)


async def test_an_unfinished_job_without_hold_fails_without_charge(world: StoreHarness) -> None:
    record = await world.add()
    await world.store.cancel_job(record.job.id, world.later())

    def reopen(tables: MemoryTables) -> None:
        job = tables.jobs[record.job.id]
        tables.jobs[job.id] = replace(job, status=JobStatus.QUEUED, finished_at=None)
        tables.shards[job.id] = record.shards  # type: ignore[assignment]

    await damage(world, "UPDATE shards SET status = 'waiting'", lambda tables: None)
    await damage(world, "UPDATE jobs SET status = 'queued', finished_at = NULL", reopen)
    assert await world.store.list_defects() == [("missing_hold", record.job.id)]
    mended = await world.store.mend_job(record.job.id, world.later())
    assert mended.job.status is JobStatus.FAILED
    assert await world.wallet() == (1_000_000, 0)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_the_open_hold_of_a_finished_job_is_released(world: StoreHarness, status: str) -> None:
    await world.succeed()
    await world.add()
    record = await world.add()
    end = world.later()

    def finish(tables: MemoryTables) -> None:
        job = tables.jobs[record.job.id]
        tables.jobs[job.id] = replace(job, status=JobStatus(status), finished_at=end)
        tables.shards[job.id] = tuple(
            replace(shard, status=ShardStatus(status)) for shard in tables.shards[job.id]
        )

    at = end.isoformat(timespec="microseconds")
    id = record.job.id
    await damage(world, f"UPDATE shards SET status = '{status}' WHERE job_id = '{id}'", lambda tables: None)
    await damage(
        world, f"UPDATE jobs SET status = '{status}', finished_at = '{at}' WHERE id = '{id}'", finish
    )
    assert await world.store.list_defects() == [("open_hold", id)]
    await world.store.mend_job(id, end + timedelta(seconds=1))
    assert await world.store.list_defects() == []
    assert await world.wallet() == (980_000, 10_000), "one job has succeeded, one waits"


async def test_the_open_hold_of_a_succeeded_job_is_captured(world: StoreHarness) -> None:
    record = await world.add()
    await finish_and_break(world, record)
    end = world.later()

    def finish(tables: MemoryTables) -> None:
        job = tables.jobs[record.job.id]
        tables.jobs[job.id] = replace(job, status=JobStatus.SUCCEEDED, finished_at=end)

    at = end.isoformat(timespec="microseconds")
    await damage(world, f"UPDATE jobs SET status = 'succeeded', finished_at = '{at}'", finish)
    assert await world.store.list_defects() == [("open_hold", record.job.id)]
    await world.store.mend_job(record.job.id, world.later())
    assert await world.store.list_defects() == []
    assert await world.wallet() == (990_000, 0)

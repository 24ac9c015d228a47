"""Cancelling single shards of a job: the others go on, and the price follows. One suite for every store."""

from __future__ import annotations

from orchestrator.billing.charging import MINIMUM_PARAM
from orchestrator.jobs import JobStatus, ShardStatus
from orchestrator.store.signals import StoreEvent, StoreEventKind
from pricing.ledger import EntryKind
from tests.support.store_harness import PICTURE, USAGE, StoreHarness


async def test_the_other_shards_go_on_and_are_charged(world: StoreHarness) -> None:
    record = await world.add(n=4, price=40_001)
    first = await world.start(record, 0)
    await world.store.cancel_shard(record.job.id, 3, world.later())
    await world.store.cancel_shard(record.job.id, 1, world.later())
    shown = await world.again(record)
    assert shown.job.status is JobStatus.RUNNING
    assert [shard.status.value for shard in shown.shards] == ["running", "cancelled", "waiting", "cancelled"]
    assert await world.wallet() == (1_000_000 - 40_001, 40_001)
    await world.finish(first)
    done = await world.finish(await world.start(record, 2))
    assert (done.job.status, done.job.price, len(done.outputs)) == (JobStatus.SUCCEEDED, 20_001, 2)
    assert await world.wallet() == (1_000_000 - 20_001, 0)
    entries = (await world.store.list_ledger_entries(world.account.id)).items
    kinds = {entry.kind: entry.micros for entry in entries if entry.job_id == record.job.id}
    assert kinds == {EntryKind.HOLD: 40_001, EntryKind.CAPTURE: 20_001, EntryKind.RELEASE: 20_000}
    (row,) = await world.store.list_usage()
    assert (row.jobs, row.outputs, row.micros) == (1, 2, 20_001)


async def test_the_last_open_shard_ends_the_job(world: StoreHarness) -> None:
    record = await world.add(n=2)
    await world.finish(await world.start(record, 0))
    cancelled = await world.store.cancel_shard(record.job.id, 1, world.later())
    assert (cancelled.job.status, cancelled.job.price) == (JobStatus.SUCCEEDED, 5_000)
    again = await world.store.cancel_shard(record.job.id, 0, world.later())
    assert again == cancelled


async def test_a_job_without_results_is_cancelled_and_free(world: StoreHarness) -> None:
    record = await world.add(n=2)
    for index in (1, 0):
        cancelled = await world.store.cancel_shard(record.job.id, index, world.later())
    assert cancelled.job.status is JobStatus.CANCELLED
    assert {shard.status for shard in cancelled.shards} == {ShardStatus.CANCELLED}
    assert await world.wallet() == (1_000_000, 0)


async def test_a_request_costs_at_least_its_minimum(world: StoreHarness) -> None:
    for price, expected in ((12_000, 10_000), (10_000, 10_000), (80_000, 20_000), (8_000, 8_000)):
        record = await world.add(n=4, price=price, params={"seed": 7, MINIMUM_PARAM: 10_000})
        await world.finish(await world.start(record, 0))
        for index in (1, 2, 3):
            done = await world.store.cancel_shard(record.job.id, index, world.later())
        assert (done.job.status, done.job.price) == (JobStatus.SUCCEEDED, expected)


async def test_a_late_result_of_a_cancelled_shard_is_not_taken(world: StoreHarness) -> None:
    record = await world.add(n=2)
    attempt = await world.start(record, 1)
    await world.store.cancel_shard(record.job.id, 1, world.later())
    late = await world.store.finish_shard(attempt.prompt_id, [PICTURE], USAGE, world.later())
    assert late.shards[1].status is ShardStatus.CANCELLED
    assert late.outputs == []
    assert not await world.store.start_attempt(world.attempt(record, 1, number=2))


async def test_a_job_with_a_cancelled_shard_has_no_defect(world: StoreHarness) -> None:
    record = await world.add(n=2)
    await world.store.cancel_shard(record.job.id, 0, world.later())
    assert await world.store.list_defects() == []
    assert (await world.store.mend_job(record.job.id, world.later())).job.status is JobStatus.QUEUED


async def test_the_scheduler_hears_of_the_shard(world: StoreHarness) -> None:
    record = await world.add(n=2)
    kinds = (StoreEventKind.SHARD_CANCELLED, StoreEventKind.JOB_CANCELLED)
    with world.store.signals.subscribe(*kinds) as signals:
        await world.store.cancel_shard(record.job.id, 1, world.later())
        await world.store.cancel_shard(record.job.id, 0, world.later())
        events: list[StoreEvent] = []
        for _ in range(100):
            events += await signals.next_events(0.1)
            if StoreEvent(StoreEventKind.JOB_CANCELLED, record.job.id) in events:
                break
    assert StoreEvent(StoreEventKind.SHARD_CANCELLED, record.shards[1].id) in events

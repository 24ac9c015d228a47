"""Jobs of models that make several results in each run: results that a run has not made are not charged."""

from __future__ import annotations

from orchestrator.billing.charging import BATCH_PARAM, MINIMUM_PARAM
from orchestrator.jobs import JobStatus
from pricing.ledger import EntryKind
from tests.support.store_harness import PICTURE, USAGE, StoreHarness


async def run(world: StoreHarness, made: list[int], price: int, **params: int) -> int:
    """Run a job whose shards make so many results each; return what it costs."""
    record = await world.add(n=len(made), price=price, params={"seed": 7, BATCH_PARAM: 4, **params})
    for index, count in enumerate(made):
        attempt = await world.start(record, index)
        await world.store.finish_shard(attempt.prompt_id, [PICTURE] * count, USAGE, world.later())
    done = await world.again(record)
    assert done.job.status is JobStatus.SUCCEEDED
    entries = (await world.store.list_ledger_entries(world.account.id)).items
    captured = {entry.kind: entry.micros for entry in entries if entry.job_id == record.job.id}
    assert captured[EntryKind.CAPTURE] == done.job.price
    return done.job.price


async def test_charges_the_results_that_were_made(world: StoreHarness) -> None:
    assert await run(world, [4], 40_000) == 40_000
    assert await run(world, [1], 40_000) == 10_000
    assert await run(world, [4, 1], 80_000) == 50_000
    assert await run(world, [1], 40_001) == 10_001
    assert (await world.wallet())[1] == 0


async def test_results_beyond_the_batch_cost_nothing(world: StoreHarness) -> None:
    assert await run(world, [9], 40_000) == 40_000


async def test_a_run_that_makes_fewer_costs_at_least_the_minimum(world: StoreHarness) -> None:
    assert await run(world, [1], 40_000, **{MINIMUM_PARAM: 15_000}) == 15_000


async def test_a_cancelled_run_takes_off_its_whole_batch(world: StoreHarness) -> None:
    record = await world.add(n=2, price=80_000, params={"seed": 7, BATCH_PARAM: 4})
    attempt = await world.start(record, 0)
    await world.store.finish_shard(attempt.prompt_id, [PICTURE] * 3, USAGE, world.later())
    done = await world.store.cancel_shard(record.job.id, 1, world.later())
    assert (done.job.status, done.job.price) == (JobStatus.SUCCEEDED, 30_000)

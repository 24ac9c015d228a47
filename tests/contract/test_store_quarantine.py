"""Deaths of instances are counted by shard, and quarantined shards kept: one suite for every store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import NotFound
from orchestrator.jobs import Attempt, JobError, JobRecord, JobStatus, ShardStatus
from orchestrator.jobs.quarantine import QuarantinedShard
from tests.support.store_harness import STORES, StoreHarness, open_store, open_world

ERROR = JobError(code="quarantined", message="Instances ended while they ran the request.")
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {"width": 64, "text": "a fox \ud800"}}}


async def end(world: StoreHarness, attempt: Attempt, kind: str, *, has_run: bool = True) -> None:
    await world.store.end_attempt(
        attempt.prompt_id, kind, f"{kind} on sim-0", world.later(), retry=True, has_run=has_run
    )


def quarantined(record: JobRecord, world: StoreHarness, index: int = 0) -> QuarantinedShard:
    return QuarantinedShard(
        shard_id=record.shards[index].id,
        job_id=record.job.id,
        account_id=record.job.account_id,
        model=record.job.model,
        model_digest="3f2a",
        graph=GRAPH,
        quarantined_at=world.later(),
    )


async def put_away(world: StoreHarness, shard: QuarantinedShard) -> JobRecord:
    return await world.store.quarantine_shard(shard, ERROR, shard.quarantined_at)


@pytest.mark.parametrize(
    ("kind", "has_run", "counts"),
    [
        ("instance_gone", True, (0, 1)),
        ("instance_gone", False, (0, 0)),
        ("abandoned", True, (0, 0)),
        ("node_failed", True, (1, 0)),
        ("stalled", True, (1, 0)),
    ],
)
async def test_counts_tries_and_deaths_of_a_shard(
    world: StoreHarness, kind: str, has_run: bool, counts: tuple[int, int]
) -> None:
    record = await world.add()
    await end(world, await world.start(record), kind, has_run=has_run)
    (shard,) = (await world.again(record)).shards
    assert (shard.tries, shard.deaths, shard.attempts) == (*counts, 1)


async def test_an_attempt_that_ends_twice_counts_once(world: StoreHarness) -> None:
    record = await world.add()
    attempt = await world.start(record)
    for _ in range(2):
        await end(world, attempt, "instance_gone")
    assert (await world.again(record)).shards[0].deaths == 1


async def test_unfinished_jobs_carry_their_deaths_over_a_restart(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for kind in STORES:
        directory = tmp_path / kind
        directory.mkdir()
        async with open_world(kind, directory) as world:
            await end(world, await world.start(await world.add()), "instance_gone")
        again = open_store(kind, directory)
        (record,) = await again.list_unfinished_jobs()
        assert record.shards[0].deaths == 1
        await again.close()


async def test_quarantine_fails_the_job_uncharged_and_keeps_the_graph(world: StoreHarness) -> None:
    record = await world.add(n=2)
    for number in (1, 2):
        await end(world, await world.start(record, number=number), "instance_gone")
    shard = quarantined(record, world)
    failed = await put_away(world, shard)
    assert (failed.job.status, failed.job.error) == (JobStatus.FAILED, ERROR)
    assert {shard.status for shard in failed.shards} <= {ShardStatus.FAILED, ShardStatus.CANCELLED}
    assert await world.wallet() == (1_000_000, 0)
    kept = await world.store.get_quarantined_shard(shard.shard_id)
    assert replace(kept, attempts=()) == shard
    assert [(one.number, one.outcome, one.instance_id) for one in kept.attempts] == [
        (1, "instance_gone", "sim-0"),
        (2, "instance_gone", "sim-0"),
    ]


async def test_quarantining_again_changes_nothing(world: StoreHarness) -> None:
    record = await world.add()
    first = quarantined(record, world)
    before = await put_away(world, first)
    assert await put_away(world, quarantined(record, world)) == before
    (kept,) = await world.store.list_quarantined_shards()
    assert kept == first


async def test_the_shard_of_a_job_that_was_cancelled_meanwhile_is_kept_too(world: StoreHarness) -> None:
    record = await world.add()
    await world.store.cancel_job(record.job.id, world.later())
    assert (await put_away(world, quarantined(record, world))).job.status is JobStatus.CANCELLED
    assert len(await world.store.list_quarantined_shards()) == 1


async def test_lists_the_newest_first_up_to_a_limit(world: StoreHarness) -> None:
    shards = [quarantined(await world.add(), world) for _ in range(3)]
    for shard in shards:
        await put_away(world, shard)
    listed = [shard.shard_id for shard in await world.store.list_quarantined_shards(limit=2)]
    assert listed == [shards[2].shard_id, shards[1].shard_id]


async def test_keeps_a_shard_without_a_graph(world: StoreHarness) -> None:
    shard = replace(quarantined(await world.add(), world), graph=None)
    await put_away(world, shard)
    assert (await world.store.get_quarantined_shard(shard.shard_id)).graph is None


async def test_deletes_an_entry_and_leaves_its_job(world: StoreHarness) -> None:
    record = await world.add()
    shard = quarantined(record, world)
    await put_away(world, shard)
    await world.store.delete_quarantined_shard(shard.shard_id)
    assert await world.store.list_quarantined_shards() == []
    assert (await world.again(record)).job.status is JobStatus.FAILED
    for operation in (world.store.get_quarantined_shard, world.store.delete_quarantined_shard):
        with pytest.raises(NotFound):
            await operation(shard.shard_id)

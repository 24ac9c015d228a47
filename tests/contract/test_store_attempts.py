"""How jobs run and end: one suite for every store. The books are audited after each test."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.jobs import JobError, JobStatus, Output, ShardStatus, Usage
from tests.support.store_harness import PICTURE, StoreHarness, picture_of

ERROR = JobError(code="generation_failed", message="The GPU ran out of memory.")


async def test_the_first_attempt_starts_shard_and_job(world: StoreHarness) -> None:
    record = await world.add(n=2)
    attempt = await world.start(record, 1)
    now = await world.again(record)
    assert (now.job.status, now.job.started_at) == (JobStatus.RUNNING, attempt.started_at)
    assert [shard.status for shard in now.shards] == [ShardStatus.WAITING, ShardStatus.RUNNING]
    assert [shard.attempts for shard in now.shards] == [0, 1]
    assert await world.store.list_open_attempts() == [attempt]


async def test_starting_the_same_attempt_again_changes_nothing(world: StoreHarness) -> None:
    record = await world.add()
    attempt = await world.start(record)
    assert await world.store.start_attempt(attempt)
    assert await world.store.list_open_attempts() == [attempt]


async def test_a_shard_runs_once_at_a_time(world: StoreHarness) -> None:
    record = await world.add()
    await world.start(record)
    assert not await world.store.start_attempt(world.attempt(record, number=2))


async def test_a_failed_attempt_sends_its_shard_back(world: StoreHarness) -> None:
    record = await world.add()
    attempt = await world.start(record)
    await world.store.end_attempt(attempt.prompt_id, "instance_gone", "killed", world.later(), retry=True)
    assert (await world.again(record)).shards[0].status is ShardStatus.WAITING
    assert await world.store.list_open_attempts() == []
    assert not await world.store.start_attempt(attempt)
    second = await world.start(record, number=2)
    assert (await world.finish(second)).job.status is JobStatus.SUCCEEDED


async def test_an_attempt_that_is_the_last_leaves_its_shard_running(world: StoreHarness) -> None:
    record = await world.add()
    attempt = await world.start(record)
    await world.store.end_attempt(attempt.prompt_id, "bad_graph", None, world.later(), retry=False)
    assert (await world.again(record)).shards[0].status is ShardStatus.RUNNING


async def test_ending_an_old_attempt_does_not_disturb_the_new_one(world: StoreHarness) -> None:
    record = await world.add()
    first = await world.start(record)
    await world.store.end_attempt(first.prompt_id, "abandoned", None, world.later(), retry=True)
    second = await world.start(record, number=2)
    await world.store.end_attempt(first.prompt_id, "abandoned", None, world.later(), retry=True)
    assert (await world.again(record)).shards[0].status is ShardStatus.RUNNING
    assert await world.store.list_open_attempts() == [second]


async def test_the_last_shard_finishes_and_pays_the_job(world: StoreHarness) -> None:
    record = await world.add(n=2, price=30_000)
    first, second = await world.start(record, 0), await world.start(record, 1)
    half = await world.finish(second)
    assert half.job.status is JobStatus.RUNNING
    assert await world.wallet() == (970_000, 30_000)
    video = Output(key="v", content_type="video/mp4", size=5, sha256="e" * 64, frames=81, fps=16.0)
    whole = await world.finish(first, [PICTURE, video], Usage(gpu_seconds=2.25, simulated=True))
    assert (whole.job.status, whole.job.finished_at) == (JobStatus.SUCCEEDED, world.now)
    assert whole.outputs == [PICTURE, video, PICTURE]
    assert (whole.is_simulated, whole.shards[0].usage.gpu_seconds) == (True, 2.25)
    assert whole == await world.again(whole)
    assert await world.wallet() == (970_000, 0)
    assert await world.store.list_unfinished_jobs() == []


async def test_finishing_again_charges_nothing_and_keeps_the_first_result(world: StoreHarness) -> None:
    record = await world.add()
    attempt = await world.start(record)
    done = await world.finish(attempt)
    other = Output(key="other", content_type="image/png", size=1, sha256="f" * 64)
    assert await world.finish(attempt, [other]) == done
    assert await world.wallet() == (990_000, 0)


async def test_nothing_is_charged_for_no_output(world: StoreHarness) -> None:
    record = await world.add()
    attempt = await world.start(record)
    with pytest.raises(ValueError, match="without outputs"):
        await world.finish(attempt, [])
    assert (await world.again(record)).job.status is JobStatus.RUNNING


async def test_the_late_result_of_an_attempt_given_up_is_taken(world: StoreHarness) -> None:
    record = await world.add()
    attempt = await world.start(record)
    await world.store.end_attempt(attempt.prompt_id, "instance_gone", None, world.later(), retry=True)
    assert (await world.finish(attempt)).job.status is JobStatus.SUCCEEDED


async def test_a_failed_job_gets_its_money_back(world: StoreHarness) -> None:
    record = await world.add(n=2)
    await world.finish(await world.start(record, 0))
    await world.start(record, 1)
    failed = await world.store.fail_job(record.job.id, ERROR, world.later())
    assert (failed.job.status, failed.job.error) == (JobStatus.FAILED, ERROR)
    assert [shard.status for shard in failed.shards] == [ShardStatus.SUCCEEDED, ShardStatus.FAILED]
    assert await world.wallet() == (1_000_000, 0)
    assert await world.store.fail_job(record.job.id, JobError(code="x", message="y"), world.later()) == failed


@pytest.mark.parametrize("started", [False, True])
async def test_a_cancelled_job_gets_its_money_back(world: StoreHarness, started: bool) -> None:
    record = await world.add()
    if started:
        await world.start(record)
    cancelled = await world.store.cancel_job(record.job.id, world.later())
    assert (cancelled.job.status, cancelled.job.finished_at) == (JobStatus.CANCELLED, world.now)
    assert cancelled.shards[0].status is ShardStatus.CANCELLED
    assert await world.wallet() == (1_000_000, 0)
    assert await world.store.cancel_job(record.job.id, world.later()) == cancelled


async def test_a_result_after_the_end_changes_nothing(world: StoreHarness) -> None:
    record = await world.add()
    attempt = await world.start(record)
    cancelled = await world.store.cancel_job(record.job.id, world.later())
    assert await world.store.list_open_attempts() == [attempt]
    assert await world.finish(attempt) == cancelled
    assert await world.store.list_open_attempts() == []
    assert await world.wallet() == (1_000_000, 0)


async def test_a_cancelled_shard_does_not_start(world: StoreHarness) -> None:
    record = await world.add()
    await world.store.cancel_job(record.job.id, world.later())
    assert not await world.store.start_attempt(world.attempt(record))


async def test_a_succeeded_job_cannot_fail_or_be_cancelled(world: StoreHarness) -> None:
    done = await world.succeed()
    assert await world.store.cancel_job(done.job.id, world.later()) == done
    assert await world.store.fail_job(done.job.id, ERROR, world.later()) == done
    assert await world.wallet() == (990_000, 0)


async def test_finish_and_cancel_at_once_have_one_winner(world: StoreHarness) -> None:
    for _ in range(10):
        record = await world.add()
        attempt = await world.start(record)
        one, other = await asyncio.gather(
            world.finish(attempt, [picture_of(attempt)]), world.store.cancel_job(record.job.id, world.now)
        )
        assert one.job.status == other.job.status


@pytest.mark.parametrize("text", ["nul \x00", "surrogate \udcff"])
async def test_errors_of_instances_are_stored_whatever_they_hold(world: StoreHarness, text: str) -> None:
    """A settlement that a database refuses would be refused each time."""
    record = await world.add()
    attempt = await world.start(record)
    await world.store.end_attempt(attempt.prompt_id, "bad_graph", text, world.now, retry=False)
    error = JobError(code="bad_graph", message=text)
    failed = await world.store.fail_job(record.job.id, error, world.now)
    (ended,) = await world.store.find_attempts([attempt.prompt_id])
    assert failed.job.error is not None
    assert failed.job.error.message == ended.detail == f"{text[:-1]}\ufffd"

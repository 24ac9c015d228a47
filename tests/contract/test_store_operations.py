"""What operators look for and have changed: one suite for every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.jobs import JobError
from orchestrator.store.job_search import Backlog, ModelOutcomes
from orchestrator.store.operator_events import OperatorEvent
from orchestrator.store.values import JobFilter
from tests.support.store_harness import START, STORES, USAGE, StoreHarness, open_store, open_world

OUT_OF_MEMORY = JobError(code="out_of_memory", message="The GPU has too little memory.")


def event(minutes: int, action: str = "instances.drain", subject: str = "gpu-0") -> OperatorEvent:
    at = START + timedelta(minutes=minutes)
    return OperatorEvent(at=at, actor="operator", action=action, subject=subject, detail={"minutes": minutes})


async def minutes_of(world: StoreHarness, **filters: str) -> list[int]:
    page = await world.store.list_operator_events(50, **filters)
    return [one.detail["minutes"] for one in page.items]


async def test_lists_operator_events_newest_first_in_pages(world: StoreHarness) -> None:
    for minutes in range(5):
        await world.store.add_operator_event(event(minutes))
    first = await world.store.list_operator_events(2)
    assert first.items[0] == replace(event(4), id=first.items[0].id)
    second = await world.store.list_operator_events(2, first.cursor)
    third = await world.store.list_operator_events(2, second.cursor)
    found = [one.detail["minutes"] for page in (first, second, third) for one in page.items]
    assert (found, third.cursor) == ([4, 3, 2, 1, 0], None)


async def test_filters_operator_events_by_action_noun_and_subject(world: StoreHarness) -> None:
    await world.store.add_operator_event(event(1))
    await world.store.add_operator_event(event(2, "instances.restart", "gpu-1"))
    await world.store.add_operator_event(event(3, "instancesque.drain", "gpu-1"))
    await world.store.add_operator_event(event(4, "keys.create", "key_1"))
    assert await minutes_of(world, action="instances") == [2, 1]
    assert await minutes_of(world, action="instances.drain") == [1]
    assert await minutes_of(world, subject="gpu-1") == [3, 2]
    assert await minutes_of(world, action="keys", subject="gpu-1") == []


@pytest.mark.parametrize("cursor", ["", "x", "1;", "-1", "9" * 30])
async def test_rejects_a_cursor_that_is_no_event(world: StoreHarness, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        await world.store.list_operator_events(2, cursor)


async def test_forgets_old_operator_events_and_uses_no_number_twice(world: StoreHarness) -> None:
    for minutes in range(3):
        await world.store.add_operator_event(event(minutes))
    (last, *_) = (await world.store.list_operator_events()).items
    assert await world.store.forget_operator_events(START + timedelta(minutes=2)) == 2
    assert await minutes_of(world) == [2]
    assert await world.store.forget_operator_events(START + timedelta(hours=2)) == 1
    await world.store.add_operator_event(event(9))
    (new,) = (await world.store.list_operator_events()).items
    assert new.id > last.id


async def test_keeps_operator_events_with_text_that_no_database_takes(world: StoreHarness) -> None:
    await world.store.add_operator_event(replace(event(1), actor="a\0b\ud800", subject="\0"))
    (kept,) = (await world.store.list_operator_events()).items
    assert (kept.actor, kept.subject) == ("a\ufffdb\ufffd", "\ufffd")


@pytest.mark.parametrize("kind", STORES)
async def test_operator_events_outlive_the_process(kind: str, tmp_path: Path) -> None:
    async with open_world(kind, tmp_path) as world:
        await world.store.add_operator_event(event(1))
    again = open_store(kind, tmp_path)
    assert [one.subject for one in (await again.list_operator_events()).items] == ["gpu-0"]
    await again.close()


async def test_searches_jobs_by_key_error_and_instance(world: StoreHarness) -> None:
    ran, failed, waiting = await world.add(), await world.add(), await world.add()
    await world.finish(await world.start(ran))
    attempt = await world.start(failed)
    await world.store.end_attempt(attempt.prompt_id, "out_of_memory", "no memory", world.later(), retry=True)
    await world.store.fail_job(failed.job.id, OUT_OF_MEMORY, world.later())

    async def found(**fields: object) -> list[str]:
        page = await world.store.search_jobs(JobFilter(**fields), 10)  # type: ignore[arg-type]
        return [record.job.id for record in page.items]

    everything = [waiting.job.id, failed.job.id, ran.job.id]
    assert await found() == everything
    assert await found(key_id=world.key.id) == everything
    assert await found(key_id="key_other") == []
    assert await found(error_code="out_of_memory") == [failed.job.id]
    assert await found(error_code="stalled") == []
    assert await found(instance_id=attempt.instance_id) == [failed.job.id, ran.job.id]
    assert await found(instance_id="gpu-77") == []
    assert await found(is_unfinished=True) == [waiting.job.id]
    page = await world.store.search_jobs(JobFilter(instance_id=attempt.instance_id), 1)
    rest = await world.store.search_jobs(JobFilter(instance_id=attempt.instance_id), 1, page.cursor)
    assert [record.job.id for record in (*page.items, *rest.items)] == [failed.job.id, ran.job.id]


async def test_operators_find_jobs_that_their_caller_has_removed(world: StoreHarness) -> None:
    record = await world.add()
    await world.store.cancel_job(record.job.id, world.later())
    await world.store.remove_job(record.job.id, world.later())
    account = world.account.id
    assert (await world.store.search_jobs(JobFilter(account_id=account))).items == []
    shown = await world.store.search_jobs(JobFilter(account_id=account, includes_removed=True))
    assert [one.job.id for one in shown.items] == [record.job.id]


async def test_lists_attempts_of_a_job_by_shard_and_number(world: StoreHarness) -> None:
    record = await world.add(2)
    first = await world.start(record, 1)
    await world.store.end_attempt(first.prompt_id, "stalled", "no progress", world.later(), retry=True)
    await world.start(record, 1, 2)
    await world.start(record, 0)
    await world.start(await world.add())
    attempts = await world.store.list_attempts(record.job.id)
    assert [(one.shard_id, one.number) for one in attempts] == [
        (record.shards[0].id, 1),
        (record.shards[1].id, 1),
        (record.shards[1].id, 2),
    ]
    assert (attempts[1].outcome, attempts[1].detail) == ("stalled", "no progress")


async def test_names_the_instances_of_jobs_in_the_order_of_their_attempts(world: StoreHarness) -> None:
    record, other, waiting = await world.add(2), await world.add(), await world.add()
    first = await world.start(record, 1, instance="gpu-7")
    await world.store.end_attempt(first.prompt_id, "stalled", "no progress", world.later(), retry=True)
    await world.start(record, 1, 2, instance="gpu-2")
    await world.start(record, 0, instance="gpu-7")
    await world.start(other, instance="gpu-2")
    found = await world.store.list_instances_of([record.job.id, other.job.id, waiting.job.id])
    assert {id: list(instances) for id, instances in found.items()} == {
        record.job.id: ["gpu-7", "gpu-2"],
        other.job.id: ["gpu-2"],
    }
    assert list(await world.store.list_instances_of([other.job.id])) == [other.job.id]
    assert await world.store.list_instances_of([]) == {}


async def test_lists_failures_latest_first_without_cancelled_attempts(world: StoreHarness) -> None:
    record = await world.add(4)
    moment = world.later()
    for index, outcome in enumerate(("stalled", "cancelled", "out_of_memory", "node_failed")):
        attempt = await world.start(record, index)
        at = moment if index < 3 else world.later()
        await world.store.end_attempt(attempt.prompt_id, outcome, "why", at, retry=True)
    await world.finish(await world.start(await world.add()))
    failures = await world.store.list_failed_attempts()
    assert [one.attempt.outcome for one in failures] == ["node_failed", "out_of_memory", "stalled"]
    assert {(one.account_id, one.model, one.status) for one in failures} == {
        (world.account.id, record.job.model, "running")
    }
    pages = []
    position = None
    while page := await world.store.list_failed_attempts(1, position):
        (failure,) = page
        assert failure.attempt.ended_at is not None
        position = (failure.attempt.ended_at, failure.attempt.prompt_id)
        pages.append(failure)
    assert pages == failures
    assert await world.store.count_failures(moment) == 3
    assert await world.store.count_failures(moment + timedelta(microseconds=1)) == 1


async def test_counts_how_the_latest_jobs_of_each_model_ended(world: StoreHarness) -> None:
    await world.finish(await world.start(await world.add(model="too-old")))
    await world.finish(await world.start(await world.add(model="a")))
    failed = await world.add(model="a")
    await world.store.fail_job(failed.job.id, OUT_OF_MEMORY, world.later())
    cancelled = await world.add(model="b")
    await world.store.cancel_job(cancelled.job.id, world.later())
    await world.add(model="b")
    assert await world.store.count_outcomes(4) == [
        ModelOutcomes(model="a", succeeded=1, failed=1),
        ModelOutcomes(model="b", cancelled=1),
    ]


async def test_keeps_when_a_run_ended(world: StoreHarness) -> None:
    record, ended = await world.add(), world.later()
    await world.finish(await world.start(record), usage=replace(USAGE, run_ended_at=ended))
    assert (await world.again(record)).shards[0].usage.run_ended_at == ended


async def test_knows_what_is_late(world: StoreHarness) -> None:
    assert await world.store.read_backlog(world.later()) == Backlog()
    old = await world.add(webhook_url="https://example.com/hook")
    new = await world.add()
    finished = await world.add(webhook_url="https://example.com/hook")
    await world.finish(await world.start(finished))
    ended_at = world.now
    assert await world.store.read_backlog(world.later()) == Backlog(
        webhooks_due=1, oldest_webhook=ended_at, oldest_job=old.job.created_at
    )
    late = await world.store.list_old_unfinished(world.later(), 10)
    assert late == [old.job.id, new.job.id]
    assert await world.store.list_old_unfinished(new.job.created_at, 10) == [old.job.id]
    assert await world.store.list_old_unfinished(world.later(), 1) == [old.job.id]

"""Who is told of a job's end: one message each, written with the end itself; and jobs refused at the door."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.errors import Conflict, NotFound
from orchestrator.jobs import Job, JobError, JobStatus, ShardStatus, create_shards
from orchestrator.webhooks.sender import SigningSecrets
from tests.support.store_harness import StoreHarness, delivery, due_messages

URL = "https://example.com/webhook"
REFUSED = JobError(code="content_policy_violation", message="no")


def refused_job(world: StoreHarness, **changes: Any) -> Job:
    job = world.job(0, **changes)
    return job.transition_to(JobStatus.FAILED, finished_at=job.created_at, error=REFUSED)


async def test_a_finished_job_sends_one_message(world: StoreHarness) -> None:
    record = await world.add(webhook_url=URL)
    assert record.job.webhook_url == URL
    assert await world.store.find_job_message(record.job.id) is None
    await world.store.cancel_job(record.job.id, world.later())
    await world.store.cancel_job(record.job.id, world.later())
    (message,) = await due_messages(world.store, world.later())
    assert (message.topic, message.url, message.job_id) == ("job.cancelled", URL, record.job.id)
    assert await world.store.find_job_message(record.job.id) == message


@pytest.mark.parametrize("end", ["succeeded", "failed"])
async def test_every_final_status_sends_a_message(world: StoreHarness, end: str) -> None:
    record = await world.add(webhook_url=URL)
    if end == "succeeded":
        await world.finish(await world.start(record))
    else:
        await world.store.fail_job(record.job.id, REFUSED, world.later())
    message = await world.store.find_job_message(record.job.id)
    assert message is not None
    assert message.topic == f"job.{end}"


@pytest.mark.parametrize(("wanted", "heard"), [(JobStatus.FAILED, True), (JobStatus.SUCCEEDED, False)])
async def test_sends_only_the_chosen_events(world: StoreHarness, wanted: JobStatus, heard: bool) -> None:
    record = await world.add(webhook_url=URL, webhook_statuses=frozenset({wanted}))
    assert record.job.notify_url == URL
    record = await world.store.fail_job(record.job.id, REFUSED, world.later())
    assert record.job.notify_url == (URL if heard else None)
    assert record.job.is_webhook_excluded is not heard
    assert (await world.store.find_job_message(record.job.id) is not None) == heard


async def test_a_job_without_a_webhook_sends_no_message(world: StoreHarness) -> None:
    record = await world.add()
    await world.store.cancel_job(record.job.id, world.later())
    assert await world.store.find_job_message(record.job.id) is None


async def test_a_replay_is_the_same_message_once_more(world: StoreHarness) -> None:
    record = await world.add(webhook_url=URL)
    await world.store.cancel_job(record.job.id, world.later())
    (message,) = await due_messages(world.store, world.later())
    await world.store.record_delivery_attempt(delivery(message, world.later(), "HTTP 500"), None)
    await world.store.record_delivery_attempt(delivery(message, world.later()), None)
    assert await due_messages(world.store, world.later()) == []
    again = await world.store.replay_message(message.id, world.later())
    assert (again.id, again.attempts, again.delivered_at, again.error) == (message.id, 0, None, None)
    assert (again.total_attempts, len(again.delivery_attempts)) == (2, 2)
    (due,) = await due_messages(world.store, world.later())
    assert (due.id, due.attempts, due.total_attempts) == (message.id, 0, 2)
    (listed,) = await world.store.list_messages(world.account.id)
    assert (listed.attempts, listed.total_attempts, listed.delivery_attempts) == (0, 2, ())
    told = await world.store.find_job_message(record.job.id)
    assert told is not None
    assert told == await world.store.get_message(world.account.id, message.id)
    assert [(one.http_status, one.error) for one in told.delivery_attempts] == [
        (500, "HTTP 500"),
        (200, None),
    ]


async def test_unknown_messages_are_not_found(world: StoreHarness) -> None:
    record = await world.add(webhook_url=URL)
    await world.store.cancel_job(record.job.id, world.later())
    (message,) = await due_messages(world.store, world.later())
    other = await world.store.add_account("Bob", "free", world.now)
    assert await world.store.get_message(world.account.id, message.id) == message
    for account_id, number in ((other.id, message.id), (world.account.id, message.id + 1)):
        with pytest.raises(NotFound):
            await world.store.get_message(account_id, number)
    with pytest.raises(NotFound):
        await world.store.replay_message(message.id + 1, world.later())


async def test_a_refused_job_has_ended_and_holds_nothing(world: StoreHarness) -> None:
    before = await world.store.get_balance(world.account.id)
    job = refused_job(world, idempotency_key="k", request_digest="d", webhook_url=URL)
    record = await world.store.add_rejected_job(job, create_shards(job, 2))
    assert (record.job.status, record.job.error) == (JobStatus.FAILED, REFUSED)
    assert [shard.status for shard in record.shards] == [ShardStatus.FAILED] * 2
    assert await world.store.find_job(job.id) == record
    assert await world.store.list_unfinished_jobs() == []
    assert await world.store.get_balance(world.account.id) == before
    message = await world.store.find_job_message(job.id)
    assert message is not None
    assert message.topic == "job.failed"


async def test_a_refused_job_is_repeated_as_any_other(world: StoreHarness) -> None:
    first = refused_job(world, idempotency_key="k", request_digest="d")
    record = await world.store.add_rejected_job(first, create_shards(first, 1))
    again = refused_job(world, idempotency_key="k", request_digest="d")
    assert await world.store.add_rejected_job(again, create_shards(again, 1)) == record
    other = refused_job(world, idempotency_key="k", request_digest="e")
    with pytest.raises(Conflict):
        await world.store.add_rejected_job(other, create_shards(other, 1))
    with pytest.raises(ValueError, match="must come in failed"):
        await world.store.add_rejected_job(world.job(), [])


async def test_concurrent_first_reads_create_one_secret(world: StoreHarness) -> None:
    secrets = SigningSecrets(world.store, lambda: world.now)
    found = await asyncio.gather(*(secrets.get_or_create(world.account.id) for _ in range(10)))
    assert len({tuple(secret) for secret in found}) == 1
    assert found[0] == await world.store.list_signing_secrets(world.account.id, world.now)

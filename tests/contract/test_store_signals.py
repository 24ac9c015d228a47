"""Wake-ups: what subscribers learn of committed changes, of this process and of others."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.errors import InsufficientBalance
from orchestrator.store.signals import (
    MAX_WAITING_EVENTS,
    MISSED_EVENTS,
    StoreEvent,
    StoreEventKind,
    Subscription,
)
from tests.support.polling import TIMEOUT_SECONDS
from tests.support.postgres import database_url, shared_cluster, wait_for_connections
from tests.support.store_harness import StoreHarness, open_store, open_world

URL = "https://hooks.example.com/x"
ALL = tuple(StoreEventKind)


async def collect(signals: Subscription, *wanted: StoreEvent) -> list[StoreEvent]:
    """Return the events until all of the wanted ones have come."""
    found: list[StoreEvent] = []
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not set(wanted) <= set(found):
            found += await signals.next_events(TIMEOUT_SECONDS)
    return found


async def test_the_life_of_a_job_is_signalled(world: StoreHarness) -> None:
    with world.store.signals.subscribe(*ALL) as signals:
        record = await world.add(webhook_url=URL)
        added = StoreEvent(StoreEventKind.JOB_ADDED, record.job.id)
        changed = StoreEvent(StoreEventKind.JOB_CHANGED, record.job.id)
        due = StoreEvent(StoreEventKind.MESSAGE_DUE, world.account.id)
        assert added in await collect(signals, added)
        attempt = await world.start(record)
        assert due not in await collect(signals, changed)
        await world.finish(attempt)
        await collect(signals, changed, due)
        message = await world.store.find_job_message(record.job.id)
        assert message is not None
        await world.store.replay_message(message.id, world.later())
        await collect(signals, due)


async def test_a_cancelled_job_is_signalled_as_such(world: StoreHarness) -> None:
    record = await world.add()
    with world.store.signals.subscribe(StoreEventKind.JOB_CANCELLED) as signals:
        await world.store.cancel_job(record.job.id, world.later())
        cancelled = StoreEvent(StoreEventKind.JOB_CANCELLED, record.job.id)
        assert await collect(signals, cancelled) == [cancelled]


async def test_what_is_refused_or_repeated_is_not_signalled(world: StoreHarness) -> None:
    record = await world.add()
    with world.store.signals.subscribe(*ALL) as signals:
        with suppress(InsufficientBalance):
            await world.add(price=10**9)
        await world.store.add_job(record.job, record.shards)
        other = await world.add()
        events = await collect(signals, StoreEvent(StoreEventKind.JOB_ADDED, other.job.id))
        assert {event.id for event in events} <= {other.job.id, ""}


async def test_a_subscriber_that_hears_nothing_looks_for_itself_in_time(world: StoreHarness) -> None:
    with world.store.signals.subscribe(StoreEventKind.JOB_CANCELLED) as signals:
        signals.take_events()
        assert {event.kind for event in await signals.next_events(0.05)} <= {StoreEventKind.MISSED}


async def test_a_subscription_bounds_what_it_keeps(world: StoreHarness) -> None:
    with world.store.signals.subscribe(StoreEventKind.JOB_ADDED) as signals:
        signals.publish(StoreEvent(StoreEventKind.JOB_ADDED, str(n)) for n in range(MAX_WAITING_EVENTS + 1))
        assert [event.kind for event in await signals.next_events()] == [StoreEventKind.MISSED]


@pytest.mark.parametrize("kind", ["postgres"])
async def test_events_of_other_processes_arrive(kind: str, tmp_path: Path) -> None:
    async with open_world(kind, tmp_path) as world:
        other = open_store(kind, tmp_path)
        try:
            with other.signals.subscribe(*ALL) as signals:
                database = database_url(tmp_path).rpartition("/")[2]
                listens = f"datname = '{database}' AND query LIKE 'LISTEN %'"
                await wait_for_connections(shared_cluster(), listens, 2)
                record = await world.add()
                added = StoreEvent(StoreEventKind.JOB_ADDED, record.job.id)
                # A listener that has connected says that events of the time before are missed.
                assert {*await collect(signals, added)} - {MISSED_EVENTS} == {added}
        finally:
            await other.close()

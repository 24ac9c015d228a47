"""Senders that share an outbox: each message is claimed by one of them at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.store import Claim, Store
from tests.support.store_harness import STORES, StoreHarness, delivery, open_store, open_world

URL = "https://hooks.example.com/x"


async def finish_with_webhooks(world: StoreHarness, number: int) -> None:
    """Finish jobs that each leave a message that is due."""
    for _ in range(number):
        await world.succeed(price=10, webhook_url=URL)


def claim(world: StoreHarness, sender: str, seconds: float = 60) -> Claim:
    return Claim(sender, world.now + timedelta(seconds=seconds))


async def take(world: StoreHarness, sender: str, limit: int = 50, seconds: float = 60) -> list[int]:
    messages = await world.store.claim_messages(claim(world, sender, seconds), world.now, limit)
    return [message.id for message in messages]


async def test_other_senders_do_not_get_a_claimed_message_until_its_claim_ends(
    world: StoreHarness,
) -> None:
    await finish_with_webhooks(world, 3)
    world.later()
    first = await take(world, "one", limit=2)
    assert len(first) == 2
    (third,) = await take(world, "two")
    assert third not in first
    assert await take(world, "three") == []
    assert await take(world, "one") == first
    world.later(61)
    assert await take(world, "three") == [*first, third]


async def test_receivers_are_counted_without_what_others_have_claimed(world: StoreHarness) -> None:
    await finish_with_webhooks(world, 3)
    world.later()
    await take(world, "one", limit=2)
    for sender, count in (("one", 3), ("two", 1), ("", 1)):
        (due,) = await world.store.list_due_receivers(world.now, sender)
        assert due.count == count
    await take(world, "two")
    assert await world.store.list_due_receivers(world.now, "three") == []


async def test_a_sender_that_stops_leaves_its_messages_to_the_others_at_once(world: StoreHarness) -> None:
    await finish_with_webhooks(world, 2)
    world.later()
    first, second = await take(world, "one", limit=1), await take(world, "two")
    await world.store.release_claims("one")
    assert await take(world, "three") == first
    await world.store.release_claims(None)
    assert await take(world, "four") == [*first, *second]


async def test_a_delivery_ends_the_claim(world: StoreHarness) -> None:
    await finish_with_webhooks(world, 1)
    world.later()
    (message,) = await world.store.claim_messages(claim(world, "one"), world.now, 1)
    await world.store.record_delivery_attempt(delivery(message, world.now, "HTTP 500"), world.now)
    assert await take(world, "two") == [message.id]


async def test_a_replayed_message_is_claimed_by_none(world: StoreHarness) -> None:
    await finish_with_webhooks(world, 1)
    world.later()
    (id,) = await take(world, "one")
    await world.store.replay_message(id, world.now)
    assert await take(world, "two") == [id]


@pytest.mark.slow
@pytest.mark.parametrize("kind", STORES)
async def test_senders_of_several_processes_get_each_message_once(kind: str, tmp_path: Path) -> None:
    async with open_world(kind, tmp_path) as world:
        await finish_with_webhooks(world, 40)
        world.later()
        others = [open_store(kind, tmp_path) for _ in range(3)]

        async def send(number: int, store: Store) -> Counter[int]:
            claimed: Counter[int] = Counter()
            while messages := await store.claim_messages(claim(world, f"sender {number}"), world.now, 3):
                claimed.update(message.id for message in messages)
                for message in messages:
                    await store.record_delivery_attempt(delivery(message, world.now), None)
            return claimed

        try:
            counts = await asyncio.gather(*(send(n, one) for n, one in enumerate([world.store, *others])))
        finally:
            for store in others:
                await store.close()
        assert sorted(Counter(id for count in counts for id in count.elements()).values()) == [1] * 40

"""Streams of one key share their looks at it."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import NotFound
from orchestrator.store import ApiKey
from orchestrator.store.memory import MemoryStore
from orchestrator.web.stream_keys import SHARED_SECONDS, StreamKeys
from tests.support.store_harness import START, populate


class CountingStore(MemoryStore):
    """Counts the looks at keys."""

    looks = 0

    async def get_key(self, key_id: str) -> ApiKey:
        self.looks += 1
        await asyncio.sleep(0)
        return await super().get_key(key_id)


async def test_streams_share_a_look_and_see_a_revocation_afterwards() -> None:
    store = CountingStore()
    world = await populate(store, 0)
    keys = StreamKeys(store)
    found = await asyncio.gather(*(keys.get_key(world.key.id) for _ in range(1000)))
    assert (store.looks, {key.revoked_at for key in found}) == (1, {None})
    await store.revoke_key(world.key.id, START)
    store.looks = 0
    assert (await keys.get_key(world.key.id)).revoked_at is None, "shares the last look"
    await asyncio.sleep(SHARED_SECONDS + 0.1)
    assert (await keys.get_key(world.key.id)).revoked_at == START
    assert store.looks == 1


async def test_an_unknown_key_is_unknown_to_all() -> None:
    keys = StreamKeys(MemoryStore())
    found = await asyncio.gather(*(keys.get_key("key_x") for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [NotFound] * 3
    with pytest.raises(NotFound):
        await keys.get_key("key_x")

"""Ended sessions, the same in both stores."""

from __future__ import annotations

from datetime import timedelta

from tests.support.store_harness import StoreHarness


async def test_a_session_that_has_ended_stays_ended_until_it_has_expired(world: StoreHarness) -> None:
    store, now = world.store, world.later()
    later = now + timedelta(hours=12)
    assert not await store.is_session_ended("one")
    await store.end_session("one", later, now)
    await store.end_session("one", later, now)
    assert await store.is_session_ended("one")
    assert not await store.is_session_ended("two")
    await store.end_session("two", later + timedelta(hours=1), later - timedelta(seconds=1))
    assert await store.is_session_ended("one")
    await store.end_session("three", later + timedelta(hours=2), later)
    assert [await store.is_session_ended(id) for id in ("one", "two", "three")] == [False, True, True]

"""Counts of requests: one suite for the storages of rate limits, in memory and in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import time

import pytest
from limits.aio.storage import MemoryStorage, Storage

from orchestrator.store.postgres.store import PostgresStore
from tests.support.polling import poll
from tests.support.store_harness import open_postgres, open_world

KINDS = ("memory", "postgres")


@pytest.fixture(params=KINDS)
async def counts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    if request.param == "memory":
        yield MemoryStorage()
        return
    async with open_world("postgres", tmp_path) as world:
        assert isinstance(world.store, PostgresStore)
        yield world.store.request_counts()


async def test_counts_until_the_window_ends(counts: Storage) -> None:
    assert await counts.get("a") == 0
    assert [await counts.incr("a", 60) for _ in range(3)] == [1, 2, 3]
    assert await counts.incr("a", 60, amount=5) == 8
    assert await counts.incr("b", 60) == 1
    assert await counts.get("a") == 8
    assert 30 < await counts.get_expiry("a") - time() <= 61


async def test_begins_anew_when_the_window_is_over(counts: Storage) -> None:
    assert await counts.incr("a", 1) == 1
    await poll(lambda: counts.get("a"), lambda count: not count)
    assert await counts.incr("a", 60) == 1


async def test_a_cleared_count_begins_anew(counts: Storage) -> None:
    await counts.incr("a", 60)
    await counts.incr("b", 60)
    await counts.clear("a")
    assert await counts.get("a") == 0
    assert await counts.incr("b", 60) == 2
    assert await counts.check()
    await counts.reset()
    assert await counts.incr("b", 60) == 1


async def test_concurrent_requests_are_all_counted(counts: Storage) -> None:
    found = await asyncio.gather(*(counts.incr("a", 60) for _ in range(30)))
    assert sorted(found) == list(range(1, 31))


async def test_two_processes_count_together(tmp_path: Path) -> None:
    async with open_world("postgres", tmp_path) as world:
        other = open_postgres(tmp_path)
        try:
            assert isinstance(world.store, PostgresStore)
            assert isinstance(other, PostgresStore)
            first, second = world.store.request_counts(), other.request_counts()
            assert [await first.incr("a", 60), await second.incr("a", 60), await first.incr("a", 60)] == [
                1,
                2,
                3,
            ]
            # What a process counted last is good enough for the headers of its response.
            assert (await first.get("a"), await second.get("a")) == (3, 2)
        finally:
            await other.close()

"""Files expire in transactions that keep other writes waiting for a moment only."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.execution.results.expiry import (
    BATCH_SECONDS,
    MAX_BATCH_SIZE,
    MIN_BATCH_SIZE,
    expire_in_batches,
    next_batch_size,
)


@pytest.mark.parametrize(
    ("size", "seconds", "following"),
    [
        (100, BATCH_SECONDS, 100),
        (100, 2 * BATCH_SECONDS, 50),
        (100, BATCH_SECONDS / 10, MAX_BATCH_SIZE),
        (30, BATCH_SECONDS / 10, 60),
        (100, 100.0, MIN_BATCH_SIZE),
        (20, 0.0, 40),
    ],
)
def test_a_slow_transaction_is_followed_by_a_smaller_one(size: int, seconds: float, following: int) -> None:
    assert next_batch_size(size, seconds) == following


async def test_everything_expires_and_the_writer_is_left_to_others_for_half_of_the_time() -> None:
    left, sizes = 100, list[int]()

    async def expire(limit: int) -> int:
        nonlocal left
        await asyncio.sleep(1.5 * BATCH_SECONDS)
        expired = min(limit, left)
        left -= expired
        sizes.append(expired)
        return expired

    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await expire_in_batches(expire) == 100
    assert sizes == [MIN_BATCH_SIZE] * 5 + [0]
    assert loop.time() - began >= 11 * 1.5 * BATCH_SECONDS * 0.9

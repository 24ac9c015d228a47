"""Calls of the store are repeated while it is unavailable, and only then."""

from __future__ import annotations

import asyncio
import logging

import pytest

from orchestrator.errors import Conflict, ServiceUnavailable
from orchestrator.store.availability import until_store_answers
from tests.support.polling import wait_until


class Store:
    """Fails a number of times before it answers."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    async def write(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "written"


def unavailable() -> ServiceUnavailable:
    return ServiceUnavailable("The disk is full.", code="store_unavailable")


async def test_repeats_a_call_until_the_store_answers(caplog: pytest.LogCaptureFixture) -> None:
    store, retries = Store(unavailable(), unavailable()), list[str]()
    with caplog.at_level(logging.INFO):
        assert await until_store_answers(store.write, "finish_shard", retries.append) == "written"
    assert (store.calls, retries) == (3, ["finish_shard"] * 2)
    # One line when it begins and one when it is over.
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_raises_an_answer_that_will_not_change() -> None:
    store = Store(unavailable(), Conflict("It was charged before."))
    with pytest.raises(Conflict):
        await until_store_answers(store.write, "refund")
    assert store.calls == 2


async def test_ends_when_it_is_cancelled() -> None:
    store = Store(*(unavailable() for _ in range(1000)))
    task = asyncio.ensure_future(until_store_answers(store.write, "finish_shard"))
    await wait_until(lambda: store.calls >= 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

"""Failures of tasks become log lines and events while a service runs."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from comfy_instances.tasks import spawn
from orchestrator.app.task_failures import observe_task_failures
from orchestrator.jobs.events import EventHub, ExecutionEvent, StateMended, TaskFailed


async def fail() -> None:
    raise ValueError("broken")


async def test_a_failed_task_is_an_event_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    events, seen = EventHub(), list[ExecutionEvent]()
    events.add_observer(seen.append)
    with observe_task_failures(events), caplog.at_level(logging.ERROR):
        await asyncio.wait({spawn(fail(), "attempt", "job_1-0")})
        await asyncio.sleep(0)
    assert seen == [TaskFailed(kind="attempt", error="ValueError('broken')")]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "attempt: job_1-0" in record.getMessage()


async def test_a_task_that_nobody_awaited_is_an_event_too() -> None:
    events, seen = EventHub(), list[ExecutionEvent]()
    events.add_observer(seen.append)
    with observe_task_failures(events):
        task: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(fail())
        assert task is not None
        await asyncio.wait({task})
        task = None
        gc.collect()
    assert seen == [TaskFailed(kind="other", error="ValueError('broken')")]


async def test_the_handler_before_is_there_again_afterwards() -> None:
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    with observe_task_failures(EventHub()):
        assert loop.get_exception_handler() is not before
    assert loop.get_exception_handler() is before


def test_an_observer_that_fails_keeps_no_event_from_others(caplog: pytest.LogCaptureFixture) -> None:
    events, seen = EventHub(), list[ExecutionEvent]()

    def break_down(event: ExecutionEvent) -> None:
        raise RuntimeError("a bug")

    events.add_observer(break_down)
    events.add_observer(seen.append)
    mended = StateMended(kind="open_hold", subject="job_1")
    events.notify_observers(mended)
    assert seen == [mended]
    assert "an observer failed" in caplog.text

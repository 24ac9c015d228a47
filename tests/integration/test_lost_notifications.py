"""A scheduler and an API process find what is stored, also when no notification says so.

Two stores on one SQLite file tell each other nothing, like processes whose notifications are lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from orchestrator.app.openapi_app import build_offline_service
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.execution.live.stored_events import StoredJobEvents
from orchestrator.execution.stored_jobs import StoredJobs
from orchestrator.jobs import Job, JobError
from orchestrator.jobs.events import JobChanged
from orchestrator.service import GenerationService
from orchestrator.settings import Settings
from orchestrator.store.sqlite import SqliteStore
from tests.support.polling import wait_until
from tests.support.store_harness import StoreHarness, populate


@pytest.fixture
async def parts() -> AsyncIterator[tuple[GenerationService, StoreHarness]]:
    """A process that runs nothing, and the store of another one."""
    async with AsyncExitStack() as stack:
        settings, service = await stack.enter_async_context(build_offline_service(Settings()))
        other = SqliteStore(settings.data_dir / "store.sqlite")
        stack.push_async_callback(other.close)
        world = await populate(other, 1_000_000)
        world.now = datetime.now(UTC)
        yield service, world


async def _is_loaded(job: Job) -> None:
    """Every model is one of the service's own."""


async def test_a_new_job_is_scheduled(parts: tuple[GenerationService, StoreHarness]) -> None:
    service, other = parts
    assert isinstance(service.dispatcher, Dispatcher)
    dispatcher = service.dispatcher
    stored_jobs = StoredJobs(store=service.store, dispatcher=dispatcher, load_model=_is_loaded)
    cancelled = await other.add()
    await other.store.cancel_job(cancelled.job.id, other.now)
    stored_jobs.start()
    try:
        waiting = await other.add(n=2)
        await wait_until(lambda: len(dispatcher.unfinished_shards()) == 2)
        assert {active.job.id for active in dispatcher.unfinished_shards()} == {waiting.job.id}
        assert len(dispatcher.scheduler.queue) == 2
    finally:
        await stored_jobs.stop()


async def test_a_waiting_caller_hears_of_the_end(parts: tuple[GenerationService, StoreHarness]) -> None:
    service, other = parts
    stored_events = StoredJobEvents(store=service.store, events=service.events)
    stored_events.start()
    try:
        record = await other.add()
        with service.events.subscribe(record.job.id) as events:
            await other.store.fail_job(record.job.id, JobError(code="x", message="y"), other.now)
            async for event in events:
                assert isinstance(event, JobChanged)
                assert event.record.job.is_finished
    finally:
        await stored_events.stop()


async def test_a_report_of_the_scheduler_is_read_at_once(
    parts: tuple[GenerationService, StoreHarness],
) -> None:
    """Also for a change that ends nothing, for which the process would not look."""
    service, other = parts
    stored_events = StoredJobEvents(store=service.store, events=service.events)
    stored_events.start()
    try:
        record = await other.add()
        with service.events.subscribe(record.job.id) as events:
            await other.start(record)
            stored_events.report(record.job.id)
            event = await anext(aiter(events))
            assert isinstance(event, JobChanged)
            assert event.record.job.status == "running"
    finally:
        await stored_events.stop()

"""A job as it happens: its present state first, then every change, and when it is expected to be done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import TypeVar

from orchestrator.jobs import JobRecord, ShardStatus
from orchestrator.jobs.events import JobChanged, JobEvent, ShardStarted
from orchestrator.service import GenerationService

T = TypeVar("T")

#: Seconds between two looks at the queue.
QUEUE_POLL_SECONDS = 1.0
#: How far an estimate has to move before it is told again: in seconds, and as a share of what is left.
MIN_CHANGE_SECONDS, MIN_CHANGE_SHARE = 2.0, 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuePosition:
    """Where an unfinished job stands."""

    #: 1 for the job whose shard is next; None where none of its shards waits.
    position: int | None
    #: When it is expected to be done; None while no instance could run it.
    expected_finish: datetime | None


JobUpdate = JobEvent | QueuePosition


def get_queue_position(service: GenerationService, job_id: str) -> QueuePosition | None:
    """None for a job that needs nothing more."""
    outlook = service.dispatcher.scheduler.estimate_job_wait(job_id, monotonic())
    if outlook is None:
        return None
    finish = None if outlook.seconds is None else service.clock() + timedelta(seconds=outlook.seconds)
    position = None if outlook.shards_ahead is None else outlook.shards_ahead + 1
    return QueuePosition(position=position, expected_finish=finish)


async def stream_job_updates(
    service: GenerationService, account_id: str, job_id: str
) -> AsyncGenerator[JobUpdate, None]:
    """All there is to tell until the job is finished or the service stops.

    Whoever comes back after a broken connection has missed nothing that still matters. Raises NotFound,
    Gone.
    """
    with service.events.subscribe(job_id) as subscription:
        # Read after subscribing: what happened before is in the store, the rest will be told.
        record = await service.get_job(account_id, job_id)
        yield JobChanged(record=record)
        if record.job.is_finished:
            return
        for event in _latest_events(service, record):
            yield event
        async with aclosing(_stream_changes(service, job_id, aiter(subscription))) as changes:
            async for change in changes:
                yield change


async def _stream_changes(
    service: GenerationService, job_id: str, events: AsyncIterator[JobEvent]
) -> AsyncGenerator[JobUpdate, None]:
    """The events up to the job's end, and its place whenever that is news."""
    told = get_queue_position(service, job_id)
    if told:
        yield told
    looked = monotonic()
    async with aclosing(_with_timeouts(events, QUEUE_POLL_SECONDS)) as paced:
        async for change in paced:
            if change is not None:
                yield change
            if isinstance(change, JobChanged) and change.record.job.is_finished:
                return
            # What starts does not wait any more: that is looked at without delay.
            if monotonic() - looked < QUEUE_POLL_SECONDS and not isinstance(change, ShardStarted):
                continue
            place, looked = get_queue_position(service, job_id), monotonic()
            if place and _is_significant_change(place, told, service.clock()):
                told = place
                yield place


def _latest_events(service: GenerationService, record: JobRecord) -> Iterator[JobEvent]:
    """The latest of each running shard."""
    running = {shard.index for shard in record.shards if shard.status is ShardStatus.RUNNING}
    for event in service.events.latest_events(record.job.id):
        if not isinstance(event, JobChanged) and event.index in running:
            yield event


def _is_significant_change(current: QueuePosition, previous: QueuePosition | None, now: datetime) -> bool:
    if previous is None or current.position != previous.position:
        return True
    if current.expected_finish is None or previous.expected_finish is None:
        return current.expected_finish is not previous.expected_finish
    left = max((previous.expected_finish - now).total_seconds(), 0.0)
    return (
        abs((current.expected_finish - previous.expected_finish).total_seconds())
        > MIN_CHANGE_SECONDS + MIN_CHANGE_SHARE * left
    )


async def _with_timeouts(events: AsyncIterator[T], seconds: float) -> AsyncGenerator[T | None, None]:
    """The events, and None whenever so many seconds have gone by without one."""
    upcoming = asyncio.ensure_future(anext(events))
    try:
        while True:
            await asyncio.wait({upcoming}, timeout=seconds)
            if not upcoming.done():
                yield None
                continue
            try:
                event = upcoming.result()
            except StopAsyncIteration:
                return
            yield event
            upcoming = asyncio.ensure_future(anext(events))
    finally:
        upcoming.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration):
            await upcoming

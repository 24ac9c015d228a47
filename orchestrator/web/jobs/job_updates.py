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
from orchestrator.service import Service

T = TypeVar("T")

#: Seconds between two looks at the queue.
LOOK_SECONDS = 1.0
#: How far an estimate has to move before it is told again: in seconds, and as a share of what is left.
TOLD_SECONDS, TOLD_SHARE = 2.0, 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where an unfinished job stands."""

    #: 1 for the job whose shard is next; None where none of its shards waits.
    position: int | None
    #: When it is expected to be done; None while no instance could run it.
    finish: datetime | None


Told = JobEvent | Place


def place_of(service: Service, job_id: str) -> Place | None:
    """None for a job that needs nothing more."""
    outlook = service.dispatcher.scheduler.outlook(job_id, monotonic())
    if outlook is None:
        return None
    finish = None if outlook.seconds is None else service.clock() + timedelta(seconds=outlook.seconds)
    position = None if outlook.position is None else outlook.position + 1
    return Place(position=position, finish=finish)


async def follow(service: Service, account_id: str, job_id: str) -> AsyncGenerator[Told, None]:
    """All there is to tell until the job is finished or the service stops.

    Whoever comes back after a broken connection has missed nothing that still matters. Raises NotFound,
    Gone.
    """
    with service.events.subscribe(job_id) as subscription:
        # Read after subscribing: what happened before is in the store, the rest will be told.
        record = await service.get(account_id, job_id)
        yield JobChanged(record=record)
        if record.job.finished:
            return
        for event in _missed(service, record):
            yield event
        async with aclosing(_changes(service, job_id, aiter(subscription))) as changes:
            async for change in changes:
                yield change


async def _changes(
    service: Service, job_id: str, events: AsyncIterator[JobEvent]
) -> AsyncGenerator[Told, None]:
    """The events up to the job's end, and its place whenever that is news."""
    told = place_of(service, job_id)
    if told:
        yield told
    looked = monotonic()
    async with aclosing(_paced(events, LOOK_SECONDS)) as paced:
        async for change in paced:
            if change is not None:
                yield change
            if isinstance(change, JobChanged) and change.record.job.finished:
                return
            # What starts does not wait any more: that is looked at without delay.
            if monotonic() - looked < LOOK_SECONDS and not isinstance(change, ShardStarted):
                continue
            place, looked = place_of(service, job_id), monotonic()
            if place and _is_news(place, told, service.clock()):
                told = place
                yield place


def _missed(service: Service, record: JobRecord) -> Iterator[JobEvent]:
    """The latest of each running shard."""
    running = {shard.index for shard in record.shards if shard.status is ShardStatus.RUNNING}
    for event in service.events.latest(record.job.id):
        if not isinstance(event, JobChanged) and event.index in running:
            yield event


def _is_news(place: Place, told: Place | None, now: datetime) -> bool:
    if told is None or place.position != told.position:
        return True
    if place.finish is None or told.finish is None:
        return place.finish is not told.finish
    left = max((told.finish - now).total_seconds(), 0.0)
    return abs((place.finish - told.finish).total_seconds()) > TOLD_SECONDS + TOLD_SHARE * left


async def _paced(events: AsyncIterator[T], seconds: float) -> AsyncGenerator[T | None, None]:
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

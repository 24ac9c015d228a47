"""Follow a job live: its present state, then every change, with queue position and estimated finish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Protocol, TypeVar

from orchestrator.execution.scheduler.wait_estimator import WaitEstimate
from orchestrator.jobs import JobRecord, ShardStatus
from orchestrator.jobs.events import EventHub, JobChanged, JobEvent, ShardStarted, Subscription
from orchestrator.web.protocols import Clock, JobReader

T = TypeVar("T")

#: Seconds between two estimates of the queue position: this share of the remaining time, within these limits.
#: Thousands of callers who wait for minutes need no estimate each second.
QUEUE_POLL_SECONDS, MAX_QUEUE_POLL_SECONDS = 1.0, 10.0
QUEUE_POLL_SHARE = 1 / 60
#: An estimate is published again when it has moved by these seconds plus this share of the remaining time.
MIN_CHANGE_SECONDS, MIN_CHANGE_SHARE = 2.0, 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuePosition:
    """Queue position and estimated finish of an unfinished job."""

    #: 1 for the job whose shard starts next; None if none of its shards is waiting.
    position: int | None
    #: When the job is expected to be finished; None while no instance can run it.
    expected_finish: datetime | None
    #: When an instance is expected to have loaded the model for it; None if none loads it.
    model_loaded: datetime | None = None


JobUpdate = JobEvent | QueuePosition


class WaitEstimates(Protocol):
    """The part of the scheduler that estimates waiting times."""

    def estimate_job_wait(self, job_id: str, now: float) -> WaitEstimate | None:
        """Return the estimate for an unfinished job; None for other jobs."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class JobUpdates:
    """Streams the updates of jobs."""

    jobs: JobReader
    events: EventHub
    wait_estimates: WaitEstimates
    clock: Clock

    def get_queue_position(self, job_id: str) -> QueuePosition | None:
        """Return the queue position of a job; None if it is finished."""
        estimate = self.wait_estimates.estimate_job_wait(job_id, monotonic())
        if estimate is None:
            return None
        ahead, now = estimate.shards_ahead, self.clock()

        def after(seconds: float | None) -> datetime | None:
            return None if seconds is None else now + timedelta(seconds=seconds)

        return QueuePosition(
            position=None if ahead is None else ahead + 1,
            expected_finish=after(estimate.seconds),
            model_loaded=after(estimate.loading_seconds),
        )

    async def stream(
        self, account_id: str, job_id: str, reader: Subscription | None = None
    ) -> AsyncGenerator[JobUpdate, None]:
        """Yield the job itself, then all updates until it is finished or the service stops.

        A client that reconnects gets the present state first, so it misses nothing that still matters.
        Raises NotFound, Gone.
        """
        with self.events.subscribe(job_id, reader) as subscription:
            # Read after subscribing: earlier changes are in the store, later ones arrive as events.
            record = await self.jobs.get_job(account_id, job_id)
            yield JobChanged(record=record)
            if record.job.is_finished:
                return
            for event in self._latest_shard_events(record):
                # What was published since the subscription comes in its order.
                if not subscription.has_pending(event):
                    yield event
            async with aclosing(self._stream_changes(job_id, aiter(subscription))) as changes:
                async for change in changes:
                    yield change

    async def _stream_changes(
        self, job_id: str, events: AsyncIterator[JobEvent]
    ) -> AsyncGenerator[JobUpdate, None]:
        """Yield events until the job is finished, and its queue position whenever that changes notably."""
        published = self.get_queue_position(job_id)
        if published:
            yield published
        estimated_at, pause = monotonic(), _Pause(published, self.clock())
        async with aclosing(_with_timeouts(events, pause)) as events_or_timeouts:
            async for event in events_or_timeouts:
                if event is not None:
                    yield event
                if isinstance(event, JobChanged) and event.record.job.is_finished:
                    return
                # A shard that starts changes the position at once; otherwise estimate once per interval.
                if monotonic() - estimated_at < pause.seconds and not isinstance(event, ShardStarted):
                    continue
                current, estimated_at = self.get_queue_position(job_id), monotonic()
                pause.follow(current, self.clock())
                if current and _is_significant_change(current, published, self.clock()):
                    published = current
                    yield current

    def _latest_shard_events(self, record: JobRecord) -> Iterator[JobEvent]:
        """Yield the latest progress and preview of each running shard."""
        running = {shard.index for shard in record.shards if shard.status is ShardStatus.RUNNING}
        for event in self.events.latest_events(record.job.id):
            if not isinstance(event, JobChanged) and event.index in running:
                yield event


def _is_significant_change(current: QueuePosition, previous: QueuePosition | None, now: datetime) -> bool:
    """Return whether clients should get the new position."""
    if previous is None or current.position != previous.position:
        return True
    if (current.model_loaded is None) is not (previous.model_loaded is None):
        return True
    if current.expected_finish is None or previous.expected_finish is None:
        return current.expected_finish is not previous.expected_finish
    remaining = max((previous.expected_finish - now).total_seconds(), 0.0)
    moved = abs((current.expected_finish - previous.expected_finish).total_seconds())
    return moved > MIN_CHANGE_SECONDS + MIN_CHANGE_SHARE * remaining


class _Pause:
    """The time until the next estimate of a queue position."""

    def __init__(self, position: QueuePosition | None, now: datetime) -> None:
        self.seconds = QUEUE_POLL_SECONDS
        self.follow(position, now)

    def follow(self, position: QueuePosition | None, now: datetime) -> None:
        """Adapt to a new estimate."""
        end = position and position.expected_finish
        remaining = (end - now).total_seconds() if end else 0.0
        self.seconds = min(max(remaining * QUEUE_POLL_SHARE, QUEUE_POLL_SECONDS), MAX_QUEUE_POLL_SECONDS)


async def _with_timeouts(events: AsyncIterator[T], pause: _Pause) -> AsyncGenerator[T | None, None]:
    """Yield the events, and None after every pause without one."""
    upcoming = asyncio.ensure_future(anext(events))
    try:
        while True:
            await asyncio.wait({upcoming}, timeout=pause.seconds)
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

"""Brings the scheduler what other processes put into the store: new jobs and cancellations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic

from comfy_instances.tasks import keep_running, spawn
from orchestrator.errors import ServiceUnavailable
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.jobs import Job, ShardStatus, job_of_shard
from orchestrator.store import Store
from orchestrator.store.signals import POLL_SECONDS, StoreEvent, StoreEventKind, Subscription

log = logging.getLogger(__name__)

#: Jobs that a look without notifications covers. Older ones are found by the reconciler.
NEWEST_JOBS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredJobs:
    """Follows the notifications of the store, and looks for itself every second: one may be lost."""

    store: Store
    dispatcher: Dispatcher
    #: Called before a job is scheduled: a model may have been published in another process just now.
    load_model: Callable[[Job], Awaitable[None]]
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def start(self) -> None:
        """Start to follow; `Dispatcher.start` has queued what was stored until now."""
        spawn(keep_running(self._run, "stored jobs"), "stored jobs", group=self._tasks)

    async def stop(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        kinds = (
            StoreEventKind.JOB_ADDED,
            StoreEventKind.JOB_CANCELLED,
            StoreEventKind.SHARD_CANCELLED,
        )
        with self.store.signals.subscribe(*kinds) as subscription:
            while True:
                try:
                    await self._follow(subscription)
                except ServiceUnavailable as error:
                    log.warning("new jobs cannot be read now: %s", error)
                    await asyncio.sleep(1)

    async def _follow(self, subscription: Subscription) -> None:
        """Handle notifications for a second, after a look at the newest jobs."""
        looked_at = monotonic()
        newest = await self.store.list_newest_unfinished(NEWEST_JOBS)
        known = {active.job.id for active in self.dispatcher.unfinished_shards()}
        await self._schedule([job_id for job_id in newest if job_id not in known])
        while monotonic() - looked_at < POLL_SECONDS:
            await self._handle_events(await subscription.next_events())

    async def _handle_events(self, events: list[StoreEvent]) -> None:
        for event in events:
            if event.kind is StoreEventKind.JOB_CANCELLED:
                self.dispatcher.cancel_job(event.id)
            elif event.kind is StoreEventKind.SHARD_CANCELLED:
                self.dispatcher.cancel_shard(job_of_shard(event.id), event.id)
        await self._schedule([event.id for event in events if event.kind is StoreEventKind.JOB_ADDED])

    async def _schedule(self, job_ids: list[str]) -> None:
        """Schedule what waits of these jobs; shards that the scheduler knows already are left alone."""
        for job_id in job_ids:
            record = await self.store.find_job(job_id)
            waits = record and any(shard.status is ShardStatus.WAITING for shard in record.shards)
            if record and waits and not record.job.is_finished:
                await self.load_model(record.job)
                await self.dispatcher.schedule_stored_job(record)

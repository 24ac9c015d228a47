"""Tells the callers of an API process what the scheduler has stored about their jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from comfy_instances.tasks import keep_running, spawn
from orchestrator.errors import ServiceUnavailable
from orchestrator.jobs.events import EventHub, JobChanged
from orchestrator.store import Store
from orchestrator.store.signals import StoreEventKind

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredJobEvents:
    """Publishes changes of subscribed jobs; looks for their end every second, if a notification is lost."""

    store: Store
    events: EventHub
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _reported: set[str] = field(default_factory=set, init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def start(self) -> None:
        """Start to publish."""
        spawn(keep_running(self._run, "stored job events"), "stored job events", group=self._tasks)

    async def stop(self) -> None:
        """Stop publishing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def report(self, job_id: str) -> None:
        """The scheduler says that a job has changed."""
        self._reported.add(job_id)
        self._wake.set()

    async def _run(self) -> None:
        kinds = (StoreEventKind.JOB_CHANGED, StoreEventKind.JOB_CANCELLED)
        with self.store.signals.subscribe(*kinds, wake=self._wake) as subscription:
            while True:
                changed = {event.id for event in await subscription.next_events()}
                changed |= self._reported
                self._reported.clear()
                try:
                    await self._publish(changed)
                except ServiceUnavailable as error:
                    log.warning("the state of jobs cannot be read now: %s", error)
                    self._reported.update(changed & self.events.subscribed_job_ids())
                    await asyncio.sleep(1)

    async def _publish(self, changed: Collection[str]) -> None:
        subscribed = self.events.subscribed_job_ids()
        concerned = subscribed.intersection(changed)
        if not changed and subscribed:
            concerned = set(await self.store.find_finished(sorted(subscribed)))
        for job_id in concerned:
            if record := await self.store.find_job(job_id):
                self.events.publish(job_id, JobChanged(record=record))

"""Who wants to know what becomes of a job: publish and subscribe, within the process.

A subscriber that reads slowly is not sent everything: of each kind of event it gets the latest, so a
stalled reader costs a few entries of memory and never holds up a job.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

from orchestrator.jobs import Job, JobRecord, Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class JobChanged:
    """A job or one of its shards is in a new state, which is already on disk."""

    record: JobRecord
    #: True once per job: for the change that finished it.
    final: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardStarted:
    """An attempt of a shard was sent to an instance."""

    index: int
    shard_id: str
    instance_id: str
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardProgress:
    """A node of a running shard began or got on: `value` of `maximum` steps."""

    index: int
    node_id: str
    value: float
    maximum: float
    #: How much of the whole run is done, 0 to 1.
    fraction: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPreview:
    """A picture of what the sampler has so far."""

    index: int
    content_type: str
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptFinished:
    """An instance came to the end of a shard's prompt, and keeps its slot until all have heard of it."""

    job: Job
    shard_id: str
    instance_id: str
    usage: Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptFailed:
    """An attempt of a shard came to nothing. `kind` is the failure's word."""

    shard_id: str
    instance_id: str
    kind: str


#: What the readers of a job hear.
JobEvent = JobChanged | ShardStarted | ShardProgress | ShardPreview
#: What those hear who watch over all work.
ExecutionEvent = JobEvent | PromptFinished | AttemptFailed
Observer = Callable[[ExecutionEvent], None]
#: Number of jobs whose latest events are kept.
MAX_TRACKED_JOBS = 4096


def _slot_key(event: JobEvent) -> Hashable:
    """Events of the same slot replace one another in a slow reader's queue."""
    return type(event), getattr(event, "index", None)


class Subscription:
    """The events of one job for one reader, until the job is finished or the service stops."""

    def __init__(self) -> None:
        self._pending: OrderedDict[Hashable, JobEvent] = OrderedDict()
        self._wake = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """No more will come."""
        self._closed = True
        self._wake.set()

    def slot(self, event: JobEvent) -> Hashable:
        """Events of the same slot replace one another while they wait to be read."""
        return _slot_key(event)

    def put(self, event: JobEvent) -> None:
        """Called with every event, at once and in order."""
        slot = self.slot(event)
        self._pending.pop(slot, None)
        self._pending[slot] = event
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[JobEvent]:
        while True:
            await self._wake.wait()
            while self._pending:
                _, event = self._pending.popitem(last=False)
                yield event
                if isinstance(event, JobChanged) and event.record.job.is_finished:
                    return
            if self._closed:
                return
            self._wake.clear()


class EventHub:
    """All subscriptions, by job, and the few who hear of everything."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, set[Subscription]] = {}
        #: Of each job that runs: the latest event of each slot.
        self._latest_by_job: OrderedDict[str, dict[Hashable, JobEvent]] = OrderedDict()
        self._observers: list[Observer] = []

    def add_observer(self, observer: Observer) -> None:
        """Calls `observer` with every event of all work, at once and in order; it must not fail or wait."""
        self._observers.append(observer)

    def notify_observers(self, event: ExecutionEvent) -> None:
        """Tells the observers, and no reader of a job."""
        for observer in self._observers:
            observer(event)

    def job_progress(self, job_id: str, shard_count: int) -> float:
        """Share of a running job that is done, as far as its nodes tell; 0 where nothing is known."""
        told = (event.fraction for event in self.latest_events(job_id) if isinstance(event, ShardProgress))
        return sum(told) / max(shard_count, 1)

    def latest_events(self, job_id: str) -> list[JobEvent]:
        """What a reader who comes now has missed of a job that runs, without the job itself."""
        return list(self._latest_by_job.get(job_id, {}).values())

    def _remember(self, job_id: str, event: JobEvent) -> None:
        if isinstance(event, JobChanged):
            if event.record.job.is_finished:
                self._latest_by_job.pop(job_id, None)
            return
        self._latest_by_job.setdefault(job_id, {})[_slot_key(event)] = event
        if len(self._latest_by_job) > MAX_TRACKED_JOBS:
            # A word that comes after the end of its job would stay for ever.
            self._latest_by_job.popitem(last=False)

    def publish(self, job_id: str, event: JobEvent) -> None:
        self._remember(job_id, event)
        self.notify_observers(event)
        for subscription in self._subscriptions.get(job_id, ()):
            subscription.put(event)

    def close(self) -> None:
        """The service stops: no reader has anything to wait for."""
        for subscription in chain.from_iterable(self._subscriptions.values()):
            subscription.close()

    @contextmanager
    def subscribe(self, job_id: str, reader: Subscription | None = None) -> Iterator[Subscription]:
        """The events of one job from now on; `reader` may have its own way to keep them."""
        subscription = reader or Subscription()
        self._subscriptions.setdefault(job_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            readers = self._subscriptions[job_id]
            readers.discard(subscription)
            if not readers:
                del self._subscriptions[job_id]

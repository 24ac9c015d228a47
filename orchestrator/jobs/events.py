"""Publish and subscribe for job events, within one process.

A slow subscriber does not receive every event: a newer event replaces an unread one of the same kind and
shard. A stalled subscriber therefore costs a few entries of memory and never delays a job.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

from orchestrator.jobs.failures import FailureKind
from orchestrator.jobs.job import Job, JobRecord, Usage
from orchestrator.jobs.objects import DeletionReason

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobChanged:
    """The status of a job or of one of its shards changed; the change is already stored."""

    record: JobRecord
    #: True for the change that finished the job, which is published once.
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
    """A node of a running shard started or advanced: `value` of `maximum` steps are done."""

    index: int
    node_id: str
    value: float
    maximum: float
    #: Progress of the whole run, 0 to 1.
    fraction: float
    #: Nodes that have finished.
    nodes_done: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPreview:
    """A preview image of a running sampler."""

    index: int
    content_type: str
    data: bytes
    #: The node whose work it shows; empty if the server did not name it.
    node_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptFinished:
    """An instance finished a shard's prompt. Its slot stays occupied until every observer was called."""

    job: Job
    shard_id: str
    instance_id: str
    usage: Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputDelivered:
    """An instance has delivered an output by its node pack."""

    instance_id: str
    #: Whether it is in object storage; otherwise the service fetches it.
    is_stored: bool
    #: Bytes.
    size: int
    #: Seconds by step: `blocked` of the graph's thread, `queued`, `encode`, `upload`.
    timings: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryWayChosen:
    """It was decided how the results of an instance leave it."""

    instance_id: str
    #: Whether the instance stores them itself; otherwise they pass through the service.
    is_direct: bool
    #: Why not; empty for the direct way.
    reason: str
    #: Whether an operator can change that.
    needs_attention: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptFailed:
    """An attempt of a shard failed."""

    shard_id: str
    instance_id: str
    kind: FailureKind


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelWarmed:
    """A run that loads a model ahead of requests has ended."""

    model: str
    #: `loaded`, `interrupted` or `failed`.
    result: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsRead:
    """Weight files were read into the page cache before an instance loads them."""

    model: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFailed:
    """A background task of the service, or one step of it, ended with an unexpected error."""

    #: What the task does, without the id of what it works on; `other` for tasks of libraries.
    kind: str
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteRetried:
    """The store did not take a change of a job; it is tried again until it is written."""

    operation: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StateMended:
    """The reconciler mended something that no longer belonged together."""

    #: What was wrong, such as `open_attempt`.
    kind: str
    #: Id of the job, shard, attempt or prompt.
    subject: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectDeleted:
    """An object was deleted from object storage."""

    reason: DeletionReason


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectDeletionFailed:
    """Object storage did not delete an object; it is tried again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardQuarantined:
    """A shard is not run again, because instances died while they ran it."""

    shard_id: str
    account_id: str
    model: str


#: Events that the subscribers of a job receive.
JobEvent = JobChanged | ShardStarted | ShardProgress | ShardPreview
#: Events that observers of all jobs receive.
ExecutionEvent = (
    JobEvent
    | PromptFinished
    | OutputDelivered
    | DeliveryWayChosen
    | AttemptFailed
    | ShardQuarantined
    | ModelWarmed
    | WeightsRead
    | TaskFailed
    | WriteRetried
    | StateMended
    | ObjectDeleted
    | ObjectDeletionFailed
)
Observer = Callable[[ExecutionEvent], None]
#: Maximum number of jobs whose latest events are kept.
MAX_TRACKED_JOBS = 4096
#: Jobs that ended last and whose progress is kept.
MAX_ENDED_JOBS = 64
#: Jobs that were stored, and for which a request has not begun to wait yet.
MAX_EXPECTED_ENDS = 256


def _slot_key(event: JobEvent) -> Hashable:
    """Return the key by which a newer event replaces an older one."""
    return type(event), getattr(event, "index", None)


class Subscription:
    """Iterates over the events of one job until the job finishes or the service stops."""

    #: Whether the subscriber finds the end of the job in the store itself, and needs no notification.
    finds_end: ClassVar[bool] = False
    #: Whether it passes previews on; they are made only for those that do.
    shows_previews = True

    def __init__(self) -> None:
        self._pending: OrderedDict[Hashable, JobEvent] = OrderedDict()
        self._wake = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """End the iteration after the pending events."""
        self._closed = True
        self._wake.set()

    def slot(self, event: JobEvent) -> Hashable:
        """Return the key by which a newer event replaces an older one that was not read yet."""
        return _slot_key(event)

    def put(self, event: JobEvent) -> None:
        """Add an event; called synchronously and in order."""
        slot = self.slot(event)
        self._pending.pop(slot, None)
        self._pending[slot] = event
        self._wake.set()

    def has_pending(self, event: JobEvent) -> bool:
        """Return whether an event was added and not read yet."""
        return self._pending.get(self.slot(event)) is event

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


class StateSubscription(Subscription):
    """For those who show no previews, or only wait for the end of a job."""

    shows_previews = False


class EventHub:
    """Passes events to the subscribers of a job and to the observers of all jobs."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, set[Subscription]] = {}
        #: The latest event of each slot, by running job.
        self._latest_by_job: OrderedDict[str, dict[Hashable, JobEvent]] = OrderedDict()
        #: The latest progress of each shard of the jobs that ended last.
        self._ended_progress: OrderedDict[str, list[ShardProgress]] = OrderedDict()
        #: The end of jobs for which a request will wait; None until they end.
        self._ends: OrderedDict[str, JobRecord | None] = OrderedDict()
        self._observers: list[Observer] = []
        #: Called with the id of a job whose latest events are read.
        self.on_read: Callable[[str], None] = lambda _: None
        #: Called with the id of a job when a subscriber of it comes or goes.
        self.on_listeners_changed: Callable[[str], None] = lambda _: None

    def add_observer(self, observer: Observer) -> None:
        """Call `observer` synchronously with every event of every job. It must not block.

        An error that it raises is logged: it must not undo what the event reports."""
        self._observers.append(observer)

    def notify_observers(self, event: ExecutionEvent) -> None:
        """Pass an event to the observers only, not to the job's subscribers."""
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                log.exception("an observer failed on %s", type(event).__name__)

    def job_progress(self, job_id: str, shard_count: int) -> float:
        """Return the progress of a running job, 0 to 1; 0 if no progress was reported."""
        return sum(event.fraction for event in self.latest_progress(job_id)) / max(shard_count, 1)

    def latest_progress(self, job_id: str) -> list[ShardProgress]:
        """Return the latest progress of each shard of a job that was running when it was read.

        It may have ended since: its progress does not fall to nothing for such a reader.
        """
        events = self.latest_events(job_id)
        found = [event for event in events if isinstance(event, ShardProgress)]
        return found or self._ended_progress.get(job_id, [])

    def latest_events(self, job_id: str) -> list[JobEvent]:
        """Return the latest event of each slot of a running job, for a subscriber that joins late."""
        self.on_read(job_id)
        return list(self._latest_by_job.get(job_id, {}).values())

    def expect_end(self, job_id: str) -> None:
        """Keep the end of a job that is about to be stored, for the request that will wait for it."""
        self._ends[job_id] = None
        if len(self._ends) > MAX_EXPECTED_ENDS:
            self._ends.popitem(last=False)

    def expects_end(self, job_id: str) -> bool:
        """Return whether the end of a job is kept, so that the store need not be asked for it."""
        return job_id in self._ends

    def take_end(self, job_id: str) -> JobRecord | None:
        """Return the job if it has ended since `expect_end`, and keep its end no longer."""
        return self._ends.pop(job_id, None)

    def _remember(self, job_id: str, event: JobEvent) -> None:
        if isinstance(event, JobChanged):
            if event.record.job.is_finished:
                self._keep_progress(job_id, self._latest_by_job.pop(job_id, {}))
                if job_id in self._ends:
                    self._ends[job_id] = event.record
            return
        self._latest_by_job.setdefault(job_id, {})[_slot_key(event)] = event
        if len(self._latest_by_job) > MAX_TRACKED_JOBS:
            # An event published after the end of its job is never removed otherwise.
            self._latest_by_job.popitem(last=False)

    def _keep_progress(self, job_id: str, latest: Mapping[Hashable, JobEvent]) -> None:
        if found := [event for event in latest.values() if isinstance(event, ShardProgress)]:
            self._ended_progress[job_id] = found
            if len(self._ended_progress) > MAX_ENDED_JOBS:
                self._ended_progress.popitem(last=False)

    def publish(self, job_id: str, event: JobEvent) -> None:
        """Pass an event to the observers and to the subscribers of its job."""
        self._remember(job_id, event)
        self.notify_observers(event)
        for subscription in self._subscriptions.get(job_id, ()):
            subscription.put(event)

    def has_preview_listeners(self, job_id: str) -> bool:
        """Return whether a subscriber of the job passes previews on."""
        return any(reader.shows_previews for reader in self._subscriptions.get(job_id, ()))

    def previewed_job_ids(self) -> set[str]:
        """Return the ids of the jobs with a subscriber that passes previews on."""
        return {job_id for job_id in self._subscriptions if self.has_preview_listeners(job_id)}

    def subscribed_job_ids(self) -> set[str]:
        """Return the ids of the jobs that have subscribers, except those that find the end themselves."""
        return {
            job_id
            for job_id, readers in self._subscriptions.items()
            if not all(reader.finds_end for reader in readers)
        }

    def close(self) -> None:
        """End all subscriptions, because the service stops."""
        for subscription in chain.from_iterable(self._subscriptions.values()):
            subscription.close()

    @contextmanager
    def subscribe(self, job_id: str, reader: Subscription | None = None) -> Iterator[Subscription]:
        """Subscribe to the events of one job; `reader` replaces the default Subscription."""
        subscription = reader or Subscription()
        self._subscriptions.setdefault(job_id, set()).add(subscription)
        self.on_listeners_changed(job_id)
        try:
            yield subscription
        finally:
            readers = self._subscriptions[job_id]
            readers.discard(subscription)
            if not readers:
                del self._subscriptions[job_id]
            self.on_listeners_changed(job_id)

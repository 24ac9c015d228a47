"""Wake-ups: what other parts, and other processes, learn of committed changes without asking for them.

Signals save waiting, they carry no facts: a subscriber reads the store, and does so once a second without any
signal too, because a signal of another process may be lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from orchestrator.billing.changes import Changes
from orchestrator.jobs import JobStatus, ShardStatus

#: Events that a subscription keeps; beyond them it only knows that it has missed some.
MAX_WAITING_EVENTS = 10_000
#: How long a subscriber waits for events before it looks for itself, in seconds.
POLL_SECONDS = 1.0


class StoreEventKind(StrEnum):
    """What has happened; the id of the event is that of the job or, for a message, of the account."""

    JOB_ADDED = "job_added"
    JOB_CHANGED = "job_changed"
    JOB_CANCELLED = "job_cancelled"
    #: One shard of an unfinished job; the id is the shard's.
    SHARD_CANCELLED = "shard_cancelled"
    MESSAGE_DUE = "message_due"
    #: Models were published or changed. The id is empty.
    MODELS_CHANGED = "models_changed"
    #: Events were lost, of any kind. The id is empty.
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class StoreEvent:
    """A committed change."""

    kind: StoreEventKind
    id: str


MISSED_EVENTS = StoreEvent(StoreEventKind.MISSED, "")


class Subscription:
    """The events that one subscriber has not seen; equal ones are kept once."""

    def __init__(self, kinds: frozenset[StoreEventKind], wake: asyncio.Event | None) -> None:
        self._kinds = kinds | {StoreEventKind.MISSED}
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[StoreEvent, None] = {}
        self._arrived = wake or asyncio.Event()

    def publish(self, events: Iterable[StoreEvent]) -> None:
        """Add events, from any thread."""
        if wanted := [event for event in events if event.kind in self._kinds]:
            with suppress(RuntimeError):  # the subscriber's loop is closed
                self._loop.call_soon_threadsafe(self._add, wanted)

    def _add(self, events: Iterable[StoreEvent]) -> None:
        self._waiting.update(dict.fromkeys(events))
        if len(self._waiting) > MAX_WAITING_EVENTS:
            self._waiting = {MISSED_EVENTS: None}
        self._arrived.set()

    async def next_events(self, max_wait: float = POLL_SECONDS) -> list[StoreEvent]:
        """Return the events since the last call; wait up to `max_wait` seconds for one, else return []."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max_wait):
                await self._arrived.wait()
        self._arrived.clear()
        return self.take_events()

    def take_events(self) -> list[StoreEvent]:
        """Return the events since the last call."""
        events, self._waiting = list(self._waiting), {}
        return events


class StoreSignals(Protocol):
    """Gives out the events of the store: of this process and, where the database can, of all others."""

    @contextmanager
    def subscribe(self, *kinds: StoreEventKind, wake: asyncio.Event | None = None) -> Iterator[Subscription]:
        """Yield the events of these kinds, and MISSED, from now on. `wake` is set when some have arrived."""
        ...


class SignalHub:
    """Implements `StoreSignals` within one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: set[Subscription] = set()

    @contextmanager
    def subscribe(self, *kinds: StoreEventKind, wake: asyncio.Event | None = None) -> Iterator[Subscription]:
        subscription = Subscription(frozenset(kinds), wake)
        with self._lock:
            self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions.discard(subscription)

    def publish(self, events: Iterable[StoreEvent]) -> None:
        """Give events to the subscriptions, from any thread."""
        with self._lock:
            subscriptions = list(self._subscriptions)
        if subscriptions and (published := tuple(events)):
            for subscription in subscriptions:
                subscription.publish(published)


def events_of(changes: Changes) -> tuple[StoreEvent, ...]:
    """Return what subscribers learn of changes, in a fixed order and each event once."""
    events: dict[StoreEvent, None] = {}
    if changes.new_job is not None and not changes.new_job.job.is_finished:
        events[StoreEvent(StoreEventKind.JOB_ADDED, changes.new_job.job.id)] = None
    if changes.job is not None:
        cancelled = changes.job.status is JobStatus.CANCELLED
        kind = StoreEventKind.JOB_CANCELLED if cancelled else StoreEventKind.JOB_CHANGED
        events[StoreEvent(kind, changes.job.id)] = None
    else:
        events |= {StoreEvent(StoreEventKind.JOB_CHANGED, one.job_id): None for one in changes.shards}
    cancelled_shards = (one.id for one in changes.shards if one.status is ShardStatus.CANCELLED)
    if changes.job is None or not changes.job.is_finished:
        events |= {StoreEvent(StoreEventKind.SHARD_CANCELLED, shard): None for shard in cancelled_shards}
    if changes.removed_job is not None:
        events[StoreEvent(StoreEventKind.JOB_CHANGED, changes.removed_job.id)] = None
    due = (message.account_id for message in changes.messages if message.url)
    return (*events, *(StoreEvent(StoreEventKind.MESSAGE_DUE, account) for account in dict.fromkeys(due)))

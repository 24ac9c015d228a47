"""Wake-ups between processes by LISTEN and NOTIFY.

Notifications are sent after the commit, several in one: within the transaction, each commit would wait for
all others with notifications. One that is lost is made good by the next look of its subscriber, which comes
within a second.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from selectors import EVENT_READ, DefaultSelector

import psycopg

from comfy_instances.backoff import backoff_delay
from orchestrator.store.postgres.connections import DictConnection, connect
from orchestrator.store.postgres.errors import describe
from orchestrator.store.signals import (
    MAX_WAITING_EVENTS,
    MISSED_EVENTS,
    SignalHub,
    StoreEvent,
    StoreEventKind,
)

log = logging.getLogger(__name__)

CHANNEL = "pixelfactory_signals"
#: PostgreSQL's limit is 8000 bytes.
MAX_PAYLOAD = 7_000
#: Pause before the listener connects again: the first one and the longest, in seconds.
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 5.0


class PostgresSignals(SignalHub):
    """Implements `orchestrator.store.signals.StoreSignals` for all processes that use a database."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        #: Sets the notifications of this process apart, whose events it has published already.
        self._sender = secrets.token_hex(4)
        self._stopping = threading.Event()
        #: Ends the listener's wait.
        self._wake_reader, self._wake_writer = socket.socketpair()
        #: Events to send; None ends the thread.
        self._outgoing: SimpleQueue[StoreEvent | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._keep_connected, args=(work,), name="store-signals", daemon=True)
            for work in (self._listen, self._notify)
        ]

    def start(self) -> None:
        """Begin to exchange events with other processes."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the connections. Events that were not sent yet are dropped."""
        self._stopping.set()
        self._outgoing.put(None)
        self._wake_writer.send(b"!")
        for thread in self._threads:
            thread.join()
        for end in (self._wake_reader, self._wake_writer):
            end.close()

    def send(self, events: Sequence[StoreEvent]) -> None:
        """Publish the events of a committed transaction here, and soon in the other processes."""
        self.publish(events)
        for event in events:
            self._outgoing.put(event)

    def _keep_connected(self, work: Callable[[DictConnection], None]) -> None:
        failures = 0
        while not self._stopping.is_set():
            failures = 0 if self._run_connected(work, failures) else failures + 1
            if failures:
                self._stopping.wait(backoff_delay(failures, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS))

    def _run_connected(self, work: Callable[[DictConnection], None], failures: int) -> bool:
        """Work until the connection ends; False if it could not be opened."""
        opened = False
        try:
            with connect(self._url) as connection:
                opened = True
                work(connection)
        except (psycopg.Error, OSError) as error:
            if not failures:
                log.warning("wake-ups are lost until the database can be reached: %s", describe(error))
        return opened

    def _listen(self, connection: DictConnection) -> None:
        connection.execute(f"LISTEN {CHANNEL}".encode())
        # Those of the time before are lost.
        self.publish([MISSED_EVENTS])
        with DefaultSelector() as selector:
            selector.register(connection.fileno(), EVENT_READ)
            selector.register(self._wake_reader, EVENT_READ)
            while not self._stopping.is_set():
                self._receive(connection)
                selector.select()

    def _receive(self, connection: DictConnection) -> None:
        for notification in connection.notifies(timeout=0):
            sender, _, text = notification.payload.partition("\n")
            if sender != self._sender:
                self.publish(parse_events(text))

    def _notify(self, connection: DictConnection) -> None:
        while not self._stopping.is_set():
            waiting = [self._outgoing.get()]
            with suppress(Empty):
                while len(waiting) < MAX_WAITING_EVENTS:
                    waiting.append(self._outgoing.get_nowait())
            events = [event for event in waiting if event is not None]
            for payload in format_events(events, self._sender):
                connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))


def format_events(events: Iterable[StoreEvent], sender: str) -> list[str]:
    """Return the payloads that bring these events, each of them once."""
    payloads, lines, size = [], [sender], len(sender)
    for event in dict.fromkeys(events):
        line = f"{event.kind.value} {event.id}"
        if size + len(line.encode()) + 1 > MAX_PAYLOAD:
            payloads.append("\n".join(lines))
            lines, size = [sender], len(sender)
        lines.append(line)
        size += len(line.encode()) + 1
    return [*payloads, "\n".join(lines)] if len(lines) > 1 else payloads


def parse_events(text: str) -> list[StoreEvent]:
    """Return the events of a payload; kinds that this version does not know are left out."""
    events = []
    for line in text.splitlines():
        kind, _, id = line.partition(" ")
        with suppress(ValueError):
            events.append(StoreEvent(StoreEventKind(kind), id))
    return events

"""Access to one PostgreSQL database: a bounded number of connections, each used by one thread at a time.

A write is a function of the database that runs in a transaction of its own, beside those of other threads and
processes; what it decides on is locked (`orchestrator.store.transaction`). It is repeated if another
transaction was in its way. A call returns only after the commit, which is on disk then: no session runs with
`synchronous_commit = off`.

A connection is opened when a call needs one, and replaced after any doubt. While the database cannot be
reached, calls fail with ServiceUnavailable.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from queue import Empty, LifoQueue
from typing import Any, TypeVar

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from orchestrator.errors import ServiceUnavailable
from orchestrator.store.postgres.database import PostgresDatabase
from orchestrator.store.postgres.errors import (
    describe,
    ends_connection,
    max_repeats,
    translate_error,
    unavailable,
)
from orchestrator.store.signals import StoreEvent

T = TypeVar("T")
DictConnection = Connection[dict[str, Any]]
log = logging.getLogger(__name__)

#: Share of the connections for reads: long reports must not keep writes from a connection.
READER_SHARE = 1 / 3
#: Longest pause before a transaction is repeated because another one was in its way, in seconds.
REPEAT_SECONDS = 0.02
#: How long to ask whether a transaction was committed whose connection was lost meanwhile, in seconds.
COMMIT_DOUBT_SECONDS = 15.0
#: How long a call may wait for a thread before it fails, in seconds.
QUEUE_SECONDS = 15.0
#: How long a call may last before it counts as failed, in seconds. A server that
#: stands still, as on a machine that is paused, neither answers nor ends its connections.
WRITE_SECONDS, READ_SECONDS = 60.0, 300.0
#: How long calls fail at once after a connection could not be made, in seconds.
REFUSED_SECONDS = 0.25
#: How long to wait for the connection of another thread if none can be opened, in seconds.
BORROW_SECONDS = 5.0
#: Name of the connections of a store.
WRITER_NAME = "pixelfactory"
#: The lock that an election of a scheduler takes exclusively and the write transactions of schedulers share;
#: its second half is the checksum of the schema's name.
TERM_LOCK = 0x5046_0004
#: A peer that vanished is noticed after about 20 seconds. Password and host come from the URL.
CONNECT_OPTIONS: dict[str, Any] = {
    "application_name": WRITER_NAME,
    "client_encoding": "utf8",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}
#: A transaction ends if its process stands still, so that others do not wait for its locks.
_PREPARE_SESSION = """
    SELECT set_config('TimeZone', 'UTC', FALSE), set_config('lock_timeout', '30s', FALSE),
        set_config('idle_in_transaction_session_timeout', '60s', FALSE), set_config('jit', 'off', FALSE),
        set_config('client_min_messages', 'warning', FALSE),
        CASE current_setting('synchronous_commit')
            WHEN 'off' THEN set_config('synchronous_commit', 'on', FALSE) END
"""
#: The id of a transaction tells what became of it if the connection is lost during the commit.
_BEGIN_WRITE = b"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_current_xact_id()::text AS id"
#: The term is read after the lock is taken, by a statement of its own: it sees what was committed meanwhile.
_BEGIN_SCHEDULER_WRITE = (
    b"BEGIN ISOLATION LEVEL READ COMMITTED;"
    b" SELECT pg_advisory_xact_lock_shared(%d, hashtext(current_schema()));"
    b" SELECT pg_current_xact_id()::text AS id, term FROM scheduler_leader"
) % TERM_LOCK
_BEGIN_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT NULL AS id"


def connect(url: str, **options: Any) -> DictConnection:
    """Open a connection whose transactions begin and end only where a statement says so.

    Options of the URL win. Raises psycopg.Error.
    """
    given = psycopg.conninfo.conninfo_to_dict(url)
    wanted = {name: value for name, value in {**CONNECT_OPTIONS, **options}.items() if name not in given}
    connection = psycopg.connect(url, autocommit=True, row_factory=dict_row, **wanted)
    # JSON columns are read as the text that was written.
    connection.adapters.register_loader("json", TextLoader)
    try:
        connection.execute(_PREPARE_SESSION)
    except BaseException:
        connection.close()
        raise
    return connection


class TermEnded(Exception):
    """Another scheduler leads: this process may not change jobs any more."""


class ConnectionPool:
    """The connections of one process to one database."""

    def __init__(
        self,
        url: str,
        max_connections: int,
        *,
        publish: Callable[[Sequence[StoreEvent]], None] = lambda _: None,
    ) -> None:
        """`publish` is called with the events of committed transactions, in the thread of the writer."""
        readers = max(1, int(max_connections * READER_SHARE))
        writers = max(1, max_connections - readers)
        self._connections = _Connections(url)
        self._publish = publish
        self._term: int | None = None
        self._on_term_ended: Callable[[], None] = lambda: None
        self._closed = False
        self._reader_threads = ThreadPoolExecutor(readers, "store-reader")
        self._long_reads = asyncio.Semaphore(max(1, readers // 2))
        self._writer_threads = ThreadPoolExecutor(writers, "store-writer")

    def require_term(self, term: int, on_ended: Callable[[], None]) -> None:
        """Write only while the scheduler of this term leads; afterwards writes raise TermEnded.

        `on_ended` is called then, in the thread of the writer.
        """
        self._term, self._on_term_ended = term, on_ended

    async def write(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run `function(database, *arguments)` in a transaction; its result, once that is on disk."""
        async with _time_limit(WRITE_SECONDS):
            return await self._submit(self._writer_threads, self._write, function, arguments)

    async def write_deferred(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do the same: transactions are not shared here."""
        return await self.write(function, *arguments)

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run `function(database, *arguments)` on one consistent snapshot of what is committed."""
        async with _time_limit(READ_SECONDS):
            return await self._submit(self._reader_threads, self._read, function, arguments)

    async def read_rows(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do the same: every query waits for the server."""
        return await self.read(function, *arguments)

    async def read_long(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do the same for a search or a report: they have half of the readers at most."""
        async with self._long_reads:
            return await self.read(function, *arguments)

    async def close(self) -> None:
        """Finish what was begun, then close every connection."""
        if self._closed:
            return
        self._closed = True
        for threads in (self._writer_threads, self._reader_threads):
            await asyncio.to_thread(threads.shutdown)
        self._connections.close()

    async def _submit(
        self,
        threads: ThreadPoolExecutor,
        run: Callable[[Callable[..., T], tuple[Any, ...]], T],
        function: Callable[..., T],
        arguments: tuple[Any, ...],
    ) -> T:
        if self._closed:
            raise RuntimeError("the store is closed")
        begun = time.monotonic()

        def call() -> T:
            if time.monotonic() - begun > QUEUE_SECONDS:
                raise unavailable()
            return run(function, arguments)

        return await asyncio.get_running_loop().run_in_executor(threads, call)

    def _write(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        begin = _BEGIN_WRITE if self._term is None else _BEGIN_SCHEDULER_WRITE
        result, events = self._run(begin, function, arguments)
        if events:
            self._publish(events)
        return result

    def _read(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        return self._run(_BEGIN_READ, function, arguments)[0]

    def _run(
        self, begin: bytes, function: Callable[..., T], arguments: tuple[Any, ...]
    ) -> tuple[T, list[StoreEvent]]:
        """Run a function in a transaction, again if another one was in its way or its connection was dead."""
        repeats = 0
        while True:
            connection, reused = self._connections.acquire()
            database = PostgresDatabase(connection)
            transaction: str | None = None
            try:
                id = self._begin(connection, begin)
                result = function(database, *arguments)
                transaction = id
                connection.execute(b"COMMIT")
            except Exception as error:
                self._connections.give_up(connection, error)
                if transaction is not None and ends_connection(error) and self._is_committed(transaction):
                    return result, database.events
                # A connection that waited for its next use may have died meanwhile, with all the others.
                stale = reused and transaction is None and ends_connection(error)
                if not stale and repeats >= max_repeats(error):
                    raise _translated(error) from error
                repeats += not stale
                time.sleep(random.uniform(0, REPEAT_SECONDS * repeats))
            else:
                self._connections.release(connection)
                return result, database.events

    def _begin(self, connection: DictConnection, begin: bytes) -> str | None:
        """Begin a transaction and return its id, if it writes. Raises TermEnded."""
        cursor = connection.execute(begin)
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        if begin is _BEGIN_SCHEDULER_WRITE and (row is None or row["term"] != self._term):
            self._on_term_ended()
            raise TermEnded(f"the term {self._term} of this scheduler has ended")
        return None if row is None else row["id"]

    def _is_committed(self, transaction: str) -> bool:
        """Find out what became of a transaction whose connection was lost during its commit.

        Raises ServiceUnavailable if the server does not say so for long.
        """
        deadline = time.monotonic() + COMMIT_DOUBT_SECONDS
        while time.monotonic() < deadline:
            with suppress(ServiceUnavailable, psycopg.Error):
                connection, _ = self._connections.acquire()
                try:
                    row = connection.execute(
                        "SELECT pg_xact_status(%s::xid8) AS status", (transaction,)
                    ).fetchone()
                finally:
                    self._connections.release(connection)
                if row is not None and row["status"] != "in progress":
                    return bool(row["status"] == "committed")
            time.sleep(REFUSED_SECONDS)
        raise unavailable()


@asynccontextmanager
async def _time_limit(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise unavailable(error) from error


def _translated(error: Exception) -> Exception:
    """Return the store's error, with a line in the log for one that passes."""
    translated = translate_error(error)
    if isinstance(translated, ServiceUnavailable) and translated is not error:
        log.warning("a transaction was rolled back: %s", describe(error))
    return translated


class _Connections:
    """The open connections that no thread uses, and the number of those in use."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: LifoQueue[DictConnection] = LifoQueue()
        self._lock = threading.Lock()
        self._in_use = 0
        self._refused_until = 0.0

    def acquire(self) -> tuple[DictConnection, bool]:
        """Return a connection, and whether it was used before. Raises ServiceUnavailable."""
        with suppress(Empty):
            return self._take(self._idle.get_nowait()), True
        if time.monotonic() < self._refused_until:
            if (borrowed := self._borrow()) is not None:
                return borrowed, True
            raise unavailable()
        # A connection that is being opened counts as in use, so that other threads wait for it if the server
        # refuses a second one.
        self._count(1)
        try:
            return connect(self._url), False
        except psycopg.Error as error:
            self._count(-1)
            if (borrowed := self._borrow()) is not None:
                return borrowed, True
            self._refused_until = time.monotonic() + REFUSED_SECONDS
            log.warning("no connection to the database: %s", describe(error))
            raise unavailable(error) from error
        except BaseException:
            self._count(-1)
            raise

    def _borrow(self) -> DictConnection | None:
        """Wait for the connection of another thread: the server may give no further one.

        Connections that became idle since the caller looked are taken, also when no thread uses any.
        """
        deadline = time.monotonic() + BORROW_SECONDS
        while True:
            with suppress(Empty):
                return self._take(self._idle.get(timeout=0.05))
            if not self._in_use or time.monotonic() >= deadline:
                return None

    def _take(self, connection: DictConnection) -> DictConnection:
        self._count(1)
        return connection

    def _count(self, change: int) -> None:
        with self._lock:
            self._in_use += change

    def release(self, connection: DictConnection) -> None:
        """Take a connection back; one that is not ready for another transaction is closed."""
        self._count(-1)
        if not connection.closed and connection.info.transaction_status is TransactionStatus.IDLE:
            self._idle.put(connection)
        else:
            _close(connection)

    def give_up(self, connection: DictConnection, error: Exception) -> None:
        """End the transaction that raised an error. If the server is gone, its connections are closed."""
        if ends_connection(error):
            _close(connection)
            self.close()
        else:
            with suppress(psycopg.Error):
                connection.execute(b"ROLLBACK")
        self.release(connection)

    def close(self) -> None:
        """Close the connections that are not in use."""
        with suppress(Empty):
            while True:
                _close(self._idle.get_nowait())


def _close(connection: DictConnection) -> None:
    with suppress(psycopg.Error):
        connection.close()

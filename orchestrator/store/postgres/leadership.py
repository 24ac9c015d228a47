"""Elects the one scheduler of a database, and sees to it that an earlier one changes nothing any more.

The leader holds an advisory lock, which ends with its connection: a leader that was killed is succeeded
within a fraction of a second. One that stands still keeps its connection, but not its lease: it renews a time
in the database every `RENEW_SECONDS`, and after `LEASE_SECONDS` without that a standby ends its connection.
Only the clock of the database counts.

Each election increments the term. A write transaction of a scheduler holds a shared lock and compares the
term (`connections.ConnectionPool`); an election waits for the transactions under way, or ends them, and then
increments the term. An earlier leader that wakes up can therefore neither write nor have written meanwhile.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.errors import LockNotAvailable

from orchestrator.database_url import describe_database
from orchestrator.errors import ServiceError
from orchestrator.files.data_directory import DataDirectoryInUse
from orchestrator.settings import SettingsError
from orchestrator.store.postgres.connections import (
    TERM_LOCK,
    WRITER_NAME,
    DictConnection,
    connect,
)
from orchestrator.store.postgres.errors import describe
from orchestrator.store.postgres.locks import SERVICE_LOCK
from orchestrator.store.postgres.store import prepare_database

log = logging.getLogger(__name__)

#: How long to wait at the start of a single service for the lock of one that was killed, in seconds.
START_SECONDS = 5.0
#: Interval at which a standby tries to become the leader, in seconds.
TRY_SECONDS = 0.25
#: Interval at which the leader renews its lease, and how long a lease lasts, in seconds.
RENEW_SECONDS, LEASE_SECONDS = 0.5, 2.5
#: Name of the connection that has the leader's lock. A transfer has that lock too, and no lease.
LEADER_NAME = "pixelfactory leader"
#: How long an election waits for the transactions of the earlier leader before it ends them.
_TERM_LOCK_TIMEOUT = "1s"
#: A server that has vanished is noticed within the lease.
_CONNECT_OPTIONS: dict[str, Any] = {
    "application_name": LEADER_NAME,
    "connect_timeout": 2,
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 2_500,
}
#: The same on the server's side: the lock of a machine that has vanished ends within seconds.
_KEEPALIVE_ON_SERVER = """SELECT set_config('tcp_keepalives_idle', '1', FALSE),
    set_config('tcp_keepalives_interval', '1', FALSE), set_config('tcp_keepalives_count', '2', FALSE),
    set_config('tcp_user_timeout', '2500', FALSE)"""
_HOLDERS = """SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND classid = %s AND application_name = %s
        AND objid::bigint = (hashtext(current_schema())::bigint & 4294967295) AND objsubid = 2
        AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND pid <> pg_backend_pid()"""


class Candidate:
    """One process that wants to run the jobs of a database, or does."""

    def __init__(self, url: str, own_url: str | None = None) -> None:
        """`own_url` is where API processes reach this process once it is the leader."""
        self._database_url = url
        self._own_url = own_url
        self._holder = f"process {os.getpid()} of {socket.gethostname()}"
        self._connection: DictConnection | None = None
        self.term: int | None = None

    def try_to_lead(self) -> bool:
        """Become the leader unless another process is. Raises psycopg.Error, ServiceError, SettingsError."""
        connection = self._connection or self._open()
        try:
            is_free = self._try_lock(connection)
            if not is_free and not self._succeed_silent_leader(connection):
                return False
            self.term = self._begin_term(connection, is_silent=not is_free)
        except psycopg.Error:
            self.release()
            raise
        return True

    def renew(self) -> bool:
        """Extend the lease of this term; False if another process leads now. Raises psycopg.Error."""
        connection = self._connection or self._open()
        try:
            if not self._try_lock(connection):
                return False
            query = "UPDATE scheduler_leader SET renewed_at = clock_timestamp() WHERE term = %s"
            return connection.execute(query, (self.term,)).rowcount == 1
        except psycopg.Error:
            self.release()
            raise

    def release(self) -> None:
        """End the leadership with its connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def describe_leader(self) -> str:
        """Return which process leads."""
        query = "SELECT holder, renewed_at FROM scheduler_leader"
        with suppress(psycopg.Error, ServiceError, SettingsError):
            row = (self._connection or self._open()).execute(query).fetchone()
            if row is not None and row["holder"]:
                return f"{row['holder']}, last seen at {row['renewed_at']:%H:%M:%S} UTC"
        return "it is unknown which"

    def _open(self) -> DictConnection:
        prepare_database(self._database_url)
        self._connection = connect(self._database_url, **_CONNECT_OPTIONS)
        self._connection.execute(_KEEPALIVE_ON_SERVER)
        return self._connection

    def _try_lock(self, connection: DictConnection) -> bool:
        """Take the leader's lock, or find that this connection has it already."""
        query = """SELECT EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'
                AND granted AND classid = %(lock)s)
            OR pg_try_advisory_lock(%(lock)s, hashtext(current_schema())) AS taken"""
        row = connection.execute(query, {"lock": SERVICE_LOCK}).fetchone()
        return bool(row and row["taken"])

    def _succeed_silent_leader(self, connection: DictConnection) -> bool:
        """End the connection of a leader whose lease has run out, and take its lock."""
        query = """SELECT holder FROM scheduler_leader
            WHERE renewed_at < clock_timestamp() - make_interval(secs => %s)"""
        row = connection.execute(query, (LEASE_SECONDS,)).fetchone()
        if row is None:
            return False
        log.warning("%s has not renewed its lease: it is succeeded", row["holder"] or "the scheduler")
        self._end_holders(connection, SERVICE_LOCK, LEADER_NAME)
        return self._try_lock(connection)

    def _begin_term(self, connection: DictConnection, *, is_silent: bool) -> int:
        """Count the term up, once no transaction of an earlier leader is under way.

        Those of a leader that is silent are ended at once: a process that stands still does not end them.
        """
        if is_silent:
            self._end_holders(connection, TERM_LOCK, WRITER_NAME)
        connection.execute(f"SET lock_timeout = '{_TERM_LOCK_TIMEOUT}'".encode())
        while True:
            try:
                with connection.transaction():
                    connection.execute(
                        "SELECT pg_advisory_xact_lock(%s, hashtext(current_schema()))", (TERM_LOCK,)
                    )
                    row = connection.execute(
                        """UPDATE scheduler_leader SET term = term + 1, url = %s, holder = %s,
                            renewed_at = clock_timestamp() RETURNING term""",
                        (self._own_url, self._holder),
                    ).fetchone()
            except LockNotAvailable:
                self._end_holders(connection, TERM_LOCK, WRITER_NAME)
            else:
                assert row is not None
                return int(row["term"])

    def _end_holders(self, connection: DictConnection, lock: int, name: str) -> None:
        """End the connections of other processes that have a lock, and with them what they write."""
        for row in connection.execute(_HOLDERS, (lock, name)).fetchall():
            log.warning("the connection %d of an earlier scheduler is ended", row["pid"])
            connection.execute("SELECT pg_terminate_backend(%s, 1000)", (row["pid"],))


def wait_to_lead(candidate: Candidate, stopping: threading.Event) -> bool:
    """Wait until a process leads; False if `stopping` was set first.

    A database that cannot be reached is tried again. Raises SettingsError for one that cannot be used.
    """
    failed = False
    while not stopping.is_set():
        try:
            if candidate.try_to_lead():
                return True
            failed = False
        except (psycopg.Error, ServiceError) as error:
            if not failed:
                log.warning("no scheduler can be elected now: %s", describe(error))
            failed = True
        stopping.wait(TRY_SECONDS)
    return False


@contextmanager
def kept(candidate: Candidate, on_lost: Callable[[], None]) -> Iterator[None]:
    """Renew the lease of an elected leader. `on_lost` is called in a thread if another process leads."""
    stopping = threading.Event()
    arguments = (candidate, stopping, on_lost)
    keeper = threading.Thread(target=_keep, args=arguments, name="leadership", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stopping.set()
        keeper.join()
        candidate.release()


@contextmanager
def leading_alone(url: str, on_lost: Callable[[], None]) -> Iterator[int]:
    """Lead as the only service that uses a database; yield the term.

    Raises DataDirectoryInUse if another process leads, ServiceUnavailable, SettingsError.
    """
    candidate = Candidate(url)
    deadline = time.monotonic() + START_SECONDS
    while not _try_once(candidate, deadline):
        if time.monotonic() > deadline:
            leader = candidate.describe_leader()
            candidate.release()
            raise DataDirectoryInUse(
                f"the database {describe_database(url)} is in use by another service: {leader};"
                " stop it first, or choose another database with PIXELFACTORY_DATABASE_URL"
            )
        time.sleep(TRY_SECONDS)
    assert candidate.term is not None
    with kept(candidate, on_lost):
        yield candidate.term


def _try_once(candidate: Candidate, deadline: float) -> bool:
    """Try to lead; a database that cannot be reached fails the start only at the deadline."""
    try:
        return candidate.try_to_lead()
    except psycopg.Error:
        if time.monotonic() > deadline:
            raise
        return False


def _keep(candidate: Candidate, stopping: threading.Event, on_lost: Callable[[], None]) -> None:
    """Renew the lease, and take the lock again whenever its connection has ended."""
    while not stopping.wait(RENEW_SECONDS):
        try:
            if not candidate.renew():
                log.error("another scheduler leads now: %s", candidate.describe_leader())
                on_lost()
                return
        except (ServiceError, SettingsError, psycopg.Error) as error:
            log.warning("the lease of this scheduler cannot be renewed now: %s", describe(error))

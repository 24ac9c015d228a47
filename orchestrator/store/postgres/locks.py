"""Locks of a whole database that last as long as a connection: which process serves it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg

from orchestrator.data_directory import DataDirectoryInUse
from orchestrator.database_url import describe_database
from orchestrator.errors import ServiceError
from orchestrator.settings import SettingsError
from orchestrator.store.postgres.connections import DictConnection
from orchestrator.store.postgres.errors import describe, translate_error
from orchestrator.store.postgres.store import open_database

log = logging.getLogger(__name__)

#: The lock of the process that runs jobs; its second half is the checksum of the schema's name.
SERVICE_LOCK = 0x5046_0003
#: How long to wait at the start for the lock of a service that was killed, in seconds.
START_SECONDS = 5.0
#: Interval at which the connection of a lock is tried, in seconds: a lost one has to be made anew.
CHECK_SECONDS = 1.0


class AdvisoryLock:
    """A lock of the database that only one connection has; it ends with the connection."""

    def __init__(self, url: str, number: int) -> None:
        self._url = url
        self._number = number
        self._connection: DictConnection | None = None

    def try_acquire(self) -> bool:
        """Take the lock unless another process has it. Raises ServiceUnavailable, SettingsError."""
        if self.is_held():
            return True
        connection = open_database(self._url)
        try:
            query = "SELECT pg_try_advisory_lock(%s, hashtext(current_schema())) AS taken"
            row = connection.execute(query, (self._number,)).fetchone()
        except psycopg.Error as error:
            connection.close()
            raise translate_error(error) from error
        if row is None or not row["taken"]:
            connection.close()
            return False
        self._connection = connection
        return True

    def is_held(self) -> bool:
        """Whether the connection that has the lock still lives."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            self.release()
            return False
        return True

    def release(self) -> None:
        """End the lock with its connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def describe_holder(self) -> str:
        """Return which process has the lock."""
        query = """SELECT pid, client_addr::text AS address, backend_start::text AS since FROM pg_locks
            JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND granted AND classid = %s
                AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        with suppress(psycopg.Error, ServiceError, SettingsError), open_database(self._url) as connection:
            if row := connection.execute(query, (self._number,)).fetchone():
                return (
                    f"server process {row['pid']} of {row['address'] or 'this machine'}, since {row['since']}"
                )
        return "its connection is unknown"


@contextmanager
def service_lock(url: str, on_lost: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of the only service that uses a database.

    A lock that ends with its connection, because the database restarted, is taken again. `on_lost` is called
    in a thread if another service has taken it meanwhile. Raises DataDirectoryInUse, ServiceUnavailable,
    SettingsError.
    """
    lock = AdvisoryLock(url, SERVICE_LOCK)
    deadline = time.monotonic() + START_SECONDS
    while not lock.try_acquire():
        if time.monotonic() > deadline:
            raise DataDirectoryInUse(
                f"the database {describe_database(url)} is in use by another service:"
                f" {lock.describe_holder()}; stop it first, or choose another database with"
                " PIXELFACTORY_DATABASE_URL"
            )
        time.sleep(0.1)
    stopping = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lock, stopping, on_lost), name="database-lock", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stopping.set()
        keeper.join()
        lock.release()


def _keep(lock: AdvisoryLock, stopping: threading.Event, on_lost: Callable[[], None]) -> None:
    """Take the lock again whenever its connection has ended."""
    while not stopping.wait(CHECK_SECONDS):
        try:
            if not lock.try_acquire():
                log.error("another service has taken the database: %s", lock.describe_holder())
                on_lost()
                return
        except (ServiceError, SettingsError, psycopg.Error) as error:
            log.warning("the lock of the database cannot be taken now: %s", describe(error))

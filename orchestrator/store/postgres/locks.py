"""A lock of a whole database that lasts as long as a connection: which process serves it."""

from __future__ import annotations

from contextlib import suppress

import psycopg

from orchestrator.errors import ServiceError
from orchestrator.settings import SettingsError
from orchestrator.store.postgres.connections import DictConnection
from orchestrator.store.postgres.errors import translate_error
from orchestrator.store.postgres.store import open_database

#: The lock of the process that runs jobs; its second half is the checksum of the schema's name.
SERVICE_LOCK = 0x5046_0003


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

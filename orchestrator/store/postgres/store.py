"""The store on a PostgreSQL database: for any number of processes on any number of machines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import psycopg

from orchestrator.database_url import describe_database
from orchestrator.errors import ServiceUnavailable
from orchestrator.files.secret_box import SecretBox
from orchestrator.settings import SettingsError
from orchestrator.store.ids import new_id
from orchestrator.store.postgres.connections import ConnectionPool, DictConnection, connect
from orchestrator.store.postgres.database import PostgresDatabase
from orchestrator.store.postgres.errors import describe, is_passing
from orchestrator.store.postgres.migrations import migrate
from orchestrator.store.postgres.request_counts import PostgresRequestCounts
from orchestrator.store.postgres.signals import PostgresSignals
from orchestrator.store.sql.outbox import check_secrets_readable
from orchestrator.store.sql.store import SqlStore

#: Connections of one process, besides the two of its wake-ups and the one of its lock.
MAX_CONNECTIONS = 12


class PostgresStore(SqlStore):
    """Implements `orchestrator.store.protocol.Store`, where each method is described."""

    def __init__(
        self,
        url: str,
        secret_box: SecretBox,
        new_id: Callable[[str], str] = new_id,
        *,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        """Open a database and bring its schema up to date; may wait for another process that does so.

        Raises SettingsError for a URL or a database that cannot be used, ServiceUnavailable if the database
        cannot be reached now, UnknownSchema, SecretUnreadable.
        """
        prepare_database(url, secret_box)
        self._postgres_signals = PostgresSignals(url)
        self._pool = ConnectionPool(url, max_connections, publish=self._postgres_signals.send)
        super().__init__(self._pool, self._postgres_signals, new_id, secret_box)
        self._postgres_signals.start()
        self._closed = False

    def require_term(self, term: int, on_ended: Callable[[], None]) -> None:
        """Write only while the scheduler of this term leads; afterwards writes raise TermEnded.

        `on_ended` is called then, in the thread of the writer.
        """
        self._pool.require_term(term, on_ended)

    def request_counts(self) -> PostgresRequestCounts:
        """Return counts of requests that all processes share."""
        return PostgresRequestCounts(self._pool)

    async def find_scheduler_url(self) -> str | None:
        """Return where API processes reach the scheduler; None if none has said so."""
        return await self._pool.read(_find_scheduler_url)

    async def read_models_version(self) -> tuple[str, int]:
        """Return the id and the revision of the published models in the database."""
        return await self._pool.read(_read_models_version)

    async def read_clock(self) -> tuple[datetime, datetime, datetime]:
        """Return the time of the database, between two times of this host."""
        return await self._pool.read(_read_clock)

    async def check_available(self) -> None:
        # A server that only reads, such as a replica, answers queries.
        await self._pool.write(lambda db: db.execute("DELETE FROM installation WHERE id = ''").rowcount)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await super().close()
        await asyncio.to_thread(self._postgres_signals.stop)


def _find_scheduler_url(db: PostgresDatabase) -> str | None:
    row = db.execute("SELECT url FROM scheduler_leader").fetchone()
    return None if row is None else row["url"]


def _read_clock(db: PostgresDatabase) -> tuple[datetime, datetime, datetime]:
    before = datetime.now(UTC)
    row = db.execute("SELECT clock_timestamp() AS now").fetchone()
    assert row is not None
    return before, row["now"], datetime.now(UTC)


def _read_models_version(db: PostgresDatabase) -> tuple[str, int]:
    row = db.execute("SELECT id, revision FROM published_models").fetchone()
    assert row is not None
    return row["id"], row["revision"]


def prepare_database(url: str, secret_box: SecretBox | None = None) -> None:
    """Check a database and bring its schema up to date. Raises as opening a `PostgresStore` does."""
    with closing(open_database(url)) as connection:
        try:
            migrate(connection)
            if secret_box is not None:
                check_secrets_readable(PostgresDatabase(connection), secret_box)
        except psycopg.Error as error:
            raise _describe_failure(url, error) from error


def open_database(url: str) -> DictConnection:
    """Connect to a database that can be used. Raises SettingsError, ServiceUnavailable."""
    try:
        connection = connect(url)
        encoding = connection.info.parameter_status("server_encoding")
    except psycopg.Error as error:
        raise _describe_failure(url, error) from error
    if encoding != "UTF8":
        connection.close()
        raise SettingsError(
            f"PIXELFACTORY_DATABASE_URL: {describe_database(url)} has the encoding {encoding}, and must have"
            " UTF8: create it with `createdb --encoding=UTF8 --template=template0`"
        )
    return connection


def _describe_failure(url: str, error: psycopg.Error) -> Exception:
    place = describe_database(url)
    if is_passing(error):
        return ServiceUnavailable(
            f"The database {place} cannot be used now: {describe(error)}",
            code="store_unavailable",
            retry_after=5,
        )
    return SettingsError(f"PIXELFACTORY_DATABASE_URL: {place} cannot be used: {describe(error)}")

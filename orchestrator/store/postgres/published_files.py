"""The files of published models in the database, for all processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg

from orchestrator.store.postgres.connections import DictConnection
from orchestrator.store.postgres.errors import translate_error
from orchestrator.store.postgres.signals import CHANNEL, format_events
from orchestrator.store.postgres.store import open_database, prepare_database
from orchestrator.store.signals import StoreEvent, StoreEventKind

#: Sender of notifications that all processes take as those of another one.
_SENDER = "published"


class PublishedFiles:
    """Implements `orchestrator.catalog.publishing.shared_directory.SharedFiles`.

    Each transaction has a connection of its own: there are few.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def prepare(self) -> None:
        """Bring the schema up to date. Raises SettingsError, ServiceUnavailable, UnknownSchema."""
        prepare_database(self._url)

    @contextmanager
    def changing(self) -> Iterator[PublishedRows]:
        """Keep other processes from the files until the end, which commits. Raises ServiceUnavailable."""
        with open_database(self._url) as connection:
            try:
                with connection.transaction():
                    row = connection.execute(
                        "SELECT id, revision FROM published_models FOR UPDATE"
                    ).fetchone()
                    assert row is not None
                    yield PublishedRows(connection, row["id"], row["revision"])
            except psycopg.Error as error:
                raise translate_error(error) from error


class PublishedRows:
    """The files within a transaction."""

    def __init__(self, connection: DictConnection, id: str, revision: int) -> None:
        self._connection = connection
        self.id = id
        self.revision = revision

    def list(self) -> dict[str, str]:
        """Return the SHA-256 of each file by path."""
        rows = self._connection.execute("SELECT path, sha256 FROM published_files")
        return {row["path"]: row["sha256"] for row in rows}

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        row = self._connection.execute(
            "SELECT content FROM published_files WHERE path = %s", (path,)
        ).fetchone()
        return b"" if row is None else bytes(row["content"])

    def change(self, written: Mapping[str, bytes], deleted: set[str]) -> None:
        """Write and delete files, as the next revision."""
        query = """INSERT INTO published_files (path, sha256, content) VALUES (%s, %s, %s)
            ON CONFLICT (path) DO UPDATE SET sha256 = excluded.sha256, content = excluded.content"""
        for path, content in written.items():
            digest = hashlib.sha256(content).hexdigest()
            self._connection.execute(query, (path, digest, content))
        self._connection.execute("DELETE FROM published_files WHERE path = ANY(%s)", (sorted(deleted),))
        self._connection.execute("UPDATE published_models SET revision = revision + 1")
        self.revision += 1
        # Sent with the commit.
        for payload in format_events([StoreEvent(StoreEventKind.MODELS_CHANGED, "")], _SENDER):
            self._connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))

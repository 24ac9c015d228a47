"""Moves an installation from SQLite to PostgreSQL: all rows in one transaction, proven before it commits.

The source is only read: a copy of it is brought up to date and read. Nothing else may write to the source
meanwhile, because that would be lost.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import psycopg

from orchestrator.database_url import describe_database
from orchestrator.files.data_directory import locked_database
from orchestrator.files.secret_box import is_encrypted
from orchestrator.store.postgres.connections import DictConnection
from orchestrator.store.postgres.database import PostgresDatabase
from orchestrator.store.postgres.errors import describe
from orchestrator.store.postgres.locks import SERVICE_LOCK, AdvisoryLock
from orchestrator.store.postgres.store import open_database, prepare_database
from orchestrator.store.sql.audit import audit_ledger
from orchestrator.store.sqlite.database import SqliteDatabase
from orchestrator.store.sqlite.database import connect as connect_sqlite
from orchestrator.store.sqlite.snapshot import copy_database, upgrade_and_audit

#: All tables with their primary keys, each after those that it refers to.
TABLES: Mapping[str, Sequence[str]] = {
    "accounts": ("id",),
    "keys": ("id",),
    "jobs": ("seq",),
    "shards": ("id",),
    "attempts": ("prompt_id",),
    "entries": ("id",),
    "balances": ("account",),
    "entry_blocks": ("account_id", "block"),
    "usage_days": ("day", "account_id", "key_id", "model", "simulated"),
    "meter_days": ("day", "model", "device"),
    "alerts": ("id",),
    "outbox": ("id",),
    "deliveries": ("id",),
    "signing_secrets": ("id",),
    "output_files": ("key", "job_id"),
    "object_deletions": ("key",),
    "quarantined_shards": ("shard_id",),
    "loras": ("job_id",),
    "ended_sessions": ("id",),
    "operator_events": ("id",),
    "installation": ("id",),
}
#: PostgreSQL has no text with NUL.
NUL, REPLACEMENT = "\0", "\ufffd"


class TransferError(Exception):
    """The rows cannot be moved; the message says why. The target is as it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MovedTable:
    """A table whose rows are the same in both databases."""

    name: str
    rows: int
    #: SHA-256 of all values in the order of the primary key.
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """What was moved."""

    tables: Sequence[MovedTable]
    #: Number of texts in which NUL, which PostgreSQL cannot store, was replaced by U+FFFD.
    replaced_texts: int


def move_to_postgres(source: Path, target_url: str) -> Transfer:
    """Copy all rows of an SQLite database into an empty PostgreSQL database.

    Raises TransferError, and DataDirectoryInUse if a service uses the source.
    """
    if not source.is_file():
        raise TransferError(f"database not found: {source}")
    prepare_database(target_url)
    with locked_database(source), _write_locked(source), TemporaryDirectory(dir=source.parent) as directory:
        copy = Path(directory) / "copy.db"
        copy_database(source, copy)
        if violations := upgrade_and_audit(copy):
            first = violations[0]
            raise TransferError(
                f"{source} breaks {len(violations)} rules of the ledger, first {first.rule}: {first.subject},"
                f" {first.detail}; see `pixelfactory wallet audit`"
            )
        with closing(connect_sqlite(copy)) as db, _target_lock(target_url):
            _check_secrets_encrypted(db, source)
            with closing(open_database(target_url)) as connection:
                return _move(db, connection, target_url)


@contextmanager
def _write_locked(path: Path) -> Iterator[None]:
    """Keep commands from writing to an SQLite database. Nothing is written to it here."""
    with closing(connect_sqlite(f"file:{quote(str(path.absolute()))}?mode=rw", uri=True, timeout=30)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise TransferError(f"{path} is in use by another process: {error}") from error
        yield
        db.execute("ROLLBACK")


@contextmanager
def _target_lock(url: str) -> Iterator[None]:
    lock = AdvisoryLock(url, SERVICE_LOCK)
    if not lock.try_acquire():
        raise TransferError(
            f"the database {describe_database(url)} is in use by a service: {lock.describe_holder()}"
        )
    try:
        yield
    finally:
        lock.release()


def _check_secrets_encrypted(db: SqliteDatabase, source: Path) -> None:
    if any(not is_encrypted(row["secret"]) for row in db.execute("SELECT secret FROM signing_secrets")):
        raise TransferError(
            f"{source} has secrets in clear, which an earlier version wrote: run `pixelfactory keys list` on"
            " it once, which encrypts them"
        )


def _move(db: SqliteDatabase, connection: DictConnection, url: str) -> Transfer:
    try:
        with connection.transaction():
            _lock_empty_tables(connection, url)
            copier = _Copier(db, connection)
            # The triggers have done their work in the source.
            connection.execute("ALTER TABLE entries DISABLE TRIGGER USER")
            for table in TABLES:
                copier.copy(table)
            replaced_texts = copier.replaced_texts
            connection.execute("ALTER TABLE entries ENABLE TRIGGER USER")
            tables = [copier.compare(table) for table in TABLES]
            if violations := audit_ledger(PostgresDatabase(connection)):
                raise TransferError(f"the copy breaks {len(violations)} rules of the ledger: {violations[0]}")
            return Transfer(tables=tables, replaced_texts=replaced_texts)
    except psycopg.Error as error:
        raise TransferError(f"{describe_database(url)}: {describe(error)}") from error


def _lock_empty_tables(connection: DictConnection, url: str) -> None:
    """Keep others from the tables, none of which may have rows but `installation`. Raises TransferError."""
    connection.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE".encode())
    for table in TABLES:
        query = f"SELECT EXISTS (SELECT 1 FROM {table}) AS filled".encode()
        row = connection.execute(query).fetchone()
        if row is not None and row["filled"] and table != "installation":
            raise TransferError(
                f"the database {describe_database(url)} has rows already (table {table}); choose an empty one"
            )
    connection.execute("DELETE FROM installation")


class _Copier:
    """Copies tables and compares them, with values converted to the types of the columns."""

    def __init__(self, db: SqliteDatabase, connection: DictConnection) -> None:
        self._db = db
        self._connection = connection
        self.replaced_texts = 0

    def copy(self, table: str) -> None:
        """Copy the rows of a table, and let numbers go on after those that were ever given."""
        types = self._column_types(table)
        columns = ", ".join(types)
        query = f"COPY {table} ({columns}) FROM STDIN".encode()
        with self._connection.cursor() as cursor, cursor.copy(query) as copy:
            for row in self._read_source(table, types):
                copy.write_row(row)
        for column in ("seq", "id", "rowid"):
            if types.get(column) == "bigint":
                self._continue_numbers(table, column)

    def _continue_numbers(self, table: str, column: str) -> None:
        query = "SELECT max(seq) AS last FROM sqlite_sequence WHERE name = ?"
        row = self._db.execute(query, (table,)).fetchone()
        self._connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'),"
            f" greatest(coalesce(max({column}), 0), %s) + 1, FALSE) FROM {table}".encode(),
            (row["last"] or 0,),
        )

    def compare(self, table: str) -> MovedTable:
        """Return the table if its rows are the same in both databases. Raises TransferError."""
        types = self._column_types(table)
        before, after = _digest(self._read_source(table, types)), _digest(self._read_target(table, types))
        if before != after:
            raise TransferError(
                f"table {table} differs: {before[0]} rows, digest {before[1][:12]} in SQLite,"
                f" and {after[0]} rows, digest {after[1][:12]} in PostgreSQL"
            )
        return MovedTable(name=table, rows=after[0], digest=after[1])

    def _column_types(self, table: str) -> dict[str, str]:
        query = """SELECT column_name, data_type FROM information_schema.columns
            WHERE table_schema = current_schema() AND table_name = %s ORDER BY ordinal_position"""
        return {
            str(row["column_name"]): str(row["data_type"])
            for row in self._connection.execute(query, (table,))
        }

    def _read_source(self, table: str, types: Mapping[str, str]) -> Iterator[list[Any]]:
        rows = self._db.execute(f"SELECT {', '.join(types)} FROM {table} ORDER BY {', '.join(TABLES[table])}")
        converters = [_FROM_SQLITE.get(type, self._convert_text) for type in types.values()]
        for row in rows:
            yield [
                None if value is None else convert(value)
                for convert, value in zip(converters, row, strict=True)
            ]

    def _convert_text(self, text: str) -> str:
        if NUL not in text:
            return text
        self.replaced_texts += 1
        return text.replace(NUL, REPLACEMENT)

    def _read_target(self, table: str, types: Mapping[str, str]) -> Iterator[list[Any]]:
        query = f"SELECT {', '.join(types)} FROM {table} ORDER BY {', '.join(TABLES[table])}"
        # A cursor of the server: not all rows at once.
        with self._connection.cursor(f"compare_{table}") as cursor:
            for row in cursor.execute(query.encode()):
                yield list(row.values())


def _parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=moment.tzinfo or UTC)


_FROM_SQLITE: Mapping[str, Callable[[Any], Any]] = {
    "bigint": int,
    "boolean": bool,
    "double precision": float,
    "date": date.fromisoformat,
    "timestamp with time zone": _parse_time,
}


def _digest(rows: Iterable[Sequence[Any]]) -> tuple[int, str]:
    """Return the number of rows and the digest of their values."""
    count, digest = 0, hashlib.sha256()
    for row in rows:
        count += 1
        digest.update(repr([_canonical(value) for value in row]).encode("utf-8", "surrogatepass"))
    return count, digest.hexdigest()


def _canonical(value: object) -> object:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value

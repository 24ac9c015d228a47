"""Copies of the database: taken while a service writes to it, read for a summary, and brought up to date.

The functions block and are called in worker threads. They raise SnapshotError.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from orchestrator.jobs.objects import is_thumbnail
from orchestrator.store.sql.audit import audit_ledger
from orchestrator.store.sqlite.database import SqliteDatabase, connect
from orchestrator.store.sqlite.migrations import applied_migrations, migrate
from orchestrator.store.values import AuditViolation

#: Pages that are copied in one step (4 MiB with pages of 4 KiB).
STEP_PAGES = 1024
_BUSY_TIMEOUT_SECONDS = 30.0
#: Keys end with the digest of the object, after the id of its owner if it has one.
_OBJECT_KEY = re.compile(r"(?:inputs|outputs|loras)/[^/]+/(?:[\w-]+-)?(?P<sha256>[0-9a-f]{64})\.[\w.+-]+")
#: What a summary counts, by the name that it is shown under.
_COUNTED_TABLES = {
    "accounts": "accounts",
    "keys": "keys",
    "jobs": "jobs",
    "ledger_entries": "entries",
    "webhook_messages": "outbox",
}
_OUTPUTS = """
    SELECT DISTINCT output.value ->> 'key' AS key, output.value ->> 'size' AS size,
        output.value ->> 'sha256' AS sha256, output.value ->> 'content_type' AS content_type
    FROM shards, json_each(shards.outputs) AS output"""
#: Outputs of jobs whose files have not been deleted.
_KEPT_OUTPUTS = f"""{_OUTPUTS}
    WHERE EXISTS (SELECT 1 FROM output_files AS file
        WHERE file.key = output.value ->> 'key' AND file.job_id = shards.job_id)"""
_NEEDED_INPUTS = """
    SELECT DISTINCT param.value AS key FROM shards JOIN jobs ON jobs.id = shards.job_id,
        json_tree(shards.params) AS param
    WHERE jobs.finished_at IS NULL AND param.type = 'text' AND param.value LIKE 'inputs/%'"""
#: Newer schemas also have references to inputs of finished jobs.
_REFERENCED_FILES = "SELECT DISTINCT key FROM output_files"


class SnapshotError(Exception):
    """A database cannot be read, copied or brought up to date."""


class DatabaseInUse(SnapshotError):
    """Another process has the database open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedObject:
    """An object of the object store that a job needs."""

    key: str
    sha256: str
    #: Bytes and media type; None for inputs, of which the store has only the key.
    size: int | None = None
    content_type: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseSummary:
    """What a database holds."""

    #: Names of the applied migrations, oldest first.
    schema: Sequence[str]
    counts: Mapping[str, int]


def copy_database(source: Path, target: Path) -> None:
    """Copy the database as it is at one moment, while other processes read and write it.

    The copy is one file of mode 0600, checked and flushed to disk. One read transaction spans all steps:
    without it, SQLite would begin anew after each write of another process, and a busy service would never be
    copied.
    """
    with _translated(source), closing(_open(source)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(target, isolation_level=None)) as writer:
            reader.backup(writer, pages=STEP_PAGES)
            # The copy is one file, without a log beside it.
            writer.execute("PRAGMA journal_mode = DELETE")
            _check_integrity(writer, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def summarize_database(path: Path) -> DatabaseSummary:
    """Return schema and counts of a database of any version."""
    with _translated(path), closing(_open(path)) as db:
        counts = {
            name: int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for name, table in _COUNTED_TABLES.items()
            if _has_table(db, table)
        }
        if _has_table(db, "jobs"):
            query = "SELECT count(*) FROM jobs WHERE finished_at IS NULL"
            counts["unfinished_jobs"] = int(db.execute(query).fetchone()[0])
        return DatabaseSummary(schema=applied_migrations(db), counts=counts)


def list_named_objects(path: Path) -> list[NamedObject]:
    """Return the objects that jobs need, by key: outputs and inputs that have not been deleted.

    Thumbnails are left out: they are made again, and the digest in their key is not their own.
    """
    with _translated(path), closing(_open(path)) as db:
        if not _has_table(db, "shards"):
            return []
        has_references = _has_table(db, "output_files")
        outputs = db.execute(_KEPT_OUTPUTS if has_references else _OUTPUTS)
        found = {row["key"]: NamedObject(**dict(row)) for row in outputs}
        queries = (_NEEDED_INPUTS, _REFERENCED_FILES) if has_references else (_NEEDED_INPUTS,)
        keys = {str(key) for query in queries for (key,) in db.execute(query)} - found.keys()
        matches = {
            key: match for key in keys if not is_thumbnail(key) and (match := _OBJECT_KEY.fullmatch(key))
        }
        found |= {key: NamedObject(key=key, sha256=match["sha256"]) for key, match in matches.items()}
        return [found[key] for key in sorted(found)]


def upgrade_and_audit(path: Path) -> list[AuditViolation]:
    """Apply the missing migrations to a copy and return the violated rules of its ledger.

    Raises UnknownSchema for a database of a newer version.
    """
    with _translated(path), closing(_open(path, query_only=False)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        migrate(db)
        _check_integrity(db, path)
        return audit_ledger(db)


def find_installation_id(path: Path) -> str | None:
    """Return the id by which the database owns its bucket; None if it has none or cannot be read."""
    try:
        with _translated(path), closing(_open(path)) as db:
            if not _has_table(db, "installation"):
                return None
            row = db.execute("SELECT id FROM installation").fetchone()
    except SnapshotError:
        return None
    return None if row is None else str(row["id"])


def renew_installation_id(path: Path) -> None:
    """Give a copy an id of its own, if its schema has one."""
    with _translated(path), closing(_open(path, query_only=False)) as db:
        if _has_table(db, "installation"):
            db.execute("UPDATE installation SET id = lower(hex(randomblob(16)))")


@contextmanager
def exclusive_access(path: Path) -> Iterator[None]:
    """Keep other processes from the database, whose log is written into its file first.

    Raises DatabaseInUse if another process has it open. A missing or damaged database is left as it is.
    """
    if not path.is_file():
        yield
        return
    with closing(_open(path, query_only=False, busy_timeout_seconds=0.5)) as db:
        try:
            # SQLite allows this only to the single user of a database.
            db.execute("PRAGMA journal_mode = DELETE").fetchone()
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise SnapshotError(f"{path}: {error}") from error
            raise DatabaseInUse(
                f"{path} is in use by another process; stop the service and the commands that use it"
            ) from error
        except sqlite3.DatabaseError:  # damaged: a reason to restore
            pass
        yield


def _open(
    path: Path, *, query_only: bool = True, busy_timeout_seconds: float = _BUSY_TIMEOUT_SECONDS
) -> SqliteDatabase:
    # mode=rw: a missing file is an error. Reading alone would do, but SQLite must be able to open the log.
    uri = f"file:{quote(str(path.absolute()))}?mode=rw"
    db = connect(uri, uri=True, timeout=busy_timeout_seconds)
    if query_only:
        db.execute("PRAGMA query_only = ON")
    return db


def _has_table(db: sqlite3.Connection, name: str) -> bool:
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    return bool(db.execute(query, (name,)).fetchone()[0])


def _check_integrity(db: sqlite3.Connection, path: Path) -> None:
    (result,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise SnapshotError(f"{path} is damaged: {result}")
    if db.execute("PRAGMA foreign_key_check").fetchone():
        raise SnapshotError(f"{path} is damaged: a row refers to another row that does not exist")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as SnapshotError."""
    if not path.is_file():
        raise SnapshotError(f"database not found: {path}")
    try:
        yield
    except sqlite3.Error as error:
        raise SnapshotError(f"{path}: {error}") from error

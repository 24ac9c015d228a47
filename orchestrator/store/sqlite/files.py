"""Which jobs need which objects, and which objects have to be deleted.

Triggers add the outputs of shards and the end of their job (migration 0010).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from orchestrator.jobs.objects import DELETION_KEPT, DeletionReason, FileChanges, ObjectDeletion
from orchestrator.store import file_operations
from orchestrator.store.sqlite.access import SqliteAccess
from orchestrator.store.sqlite.rows import dump_json, format_time, parse_time

T = TypeVar("T")

_SELECT_UNUSED_KEYS = """
    SELECT key FROM output_files AS file
    WHERE finished_at < :before AND NOT EXISTS (
        SELECT 1 FROM output_files AS other
        WHERE other.key = file.key AND (other.finished_at IS NULL OR other.finished_at >= :before)
    ) AND NOT EXISTS (SELECT 1 FROM loras WHERE loras.key = file.key)
    GROUP BY key ORDER BY min(finished_at), key LIMIT :limit
"""
_SELECT_UNSHARED_KEYS = """
    SELECT key FROM output_files AS file WHERE job_id = :job_id AND NOT EXISTS (
        SELECT 1 FROM output_files AS other WHERE other.key = file.key AND other.job_id <> :job_id
    )
"""


class SqliteFiles(SqliteAccess):
    """Implements `orchestrator.store.files.FileStore`, where each method is described."""

    async def add_job_file(self, job_id: str, key: str) -> None:
        await self._change(file_operations.add_job_file, job_id, key)

    async def remove_job(self, job_id: str, now: datetime) -> list[str]:
        return await self._change(file_operations.remove_job, job_id, now)

    async def expire_files(self, before: datetime, limit: int, now: datetime) -> list[str]:
        return await self._change(file_operations.expire_files, before, limit, now)

    async def discard_files(self, keys: Sequence[str], reason: DeletionReason, now: datetime) -> list[str]:
        return await self._change(file_operations.discard_files, keys, reason, now)

    async def list_due_deletions(self, now: datetime, limit: int) -> list[ObjectDeletion]:
        return await self._db.read(_list_due_deletions, now, limit)

    async def finish_deletions(self, keys: Sequence[str], now: datetime) -> list[str]:
        return await self._db.write(_finish_deletions, keys, now)

    async def postpone_deletion(self, key: str, due_at: datetime) -> None:
        await self._db.write(_postpone_deletion, key, due_at)

    async def get_installation_id(self) -> str:
        return await self._db.read(_get_installation_id)


def list_unused_keys(db: sqlite3.Connection, before: datetime, limit: int) -> list[str]:
    rows = db.execute(_SELECT_UNUSED_KEYS, {"before": format_time(before), "limit": limit})
    return [row["key"] for row in rows]


def list_unshared_keys(db: sqlite3.Connection, job_id: str) -> list[str]:
    return [row["key"] for row in db.execute(_SELECT_UNSHARED_KEYS, {"job_id": job_id})]


def find_referenced_keys(db: sqlite3.Connection, keys: Sequence[str]) -> set[str]:
    query = "SELECT DISTINCT key FROM output_files WHERE key IN (SELECT value FROM json_each(?))"
    return {row["key"] for row in db.execute(query, (dump_json(list(keys)),))}


def find_condemned_keys(db: sqlite3.Connection, keys: Sequence[str]) -> set[str]:
    query = "SELECT key FROM object_deletions WHERE key IN (SELECT value FROM json_each(?))"
    return {row["key"] for row in db.execute(query, (dump_json(list(keys)),))}


def write_file_changes(db: sqlite3.Connection, changes: FileChanges) -> None:
    db.executemany("DELETE FROM output_files WHERE job_id = ?", [(id,) for id in changes.dropped_jobs])
    db.executemany("DELETE FROM output_files WHERE key = ?", [(key,) for key in changes.dropped_keys])
    db.executemany(
        "INSERT OR IGNORE INTO output_files (key, job_id, finished_at) VALUES (?, ?, ?)",
        [(one.key, one.job_id, one.finished_at and format_time(one.finished_at)) for one in changes.added],
    )
    db.executemany(
        "INSERT OR IGNORE INTO object_deletions (key, reason, requested_at, due_at) VALUES (?, ?, ?, ?)",
        [
            (one.key, one.reason.value, format_time(one.requested_at), format_time(one.due_at))
            for one in changes.deletions
        ],
    )


def _list_due_deletions(db: sqlite3.Connection, now: datetime, limit: int) -> list[ObjectDeletion]:
    query = """SELECT * FROM object_deletions
        WHERE deleted_at IS NULL AND due_at <= ? ORDER BY due_at, key LIMIT ?"""
    return [
        ObjectDeletion(
            key=row["key"],
            reason=DeletionReason(row["reason"]),
            requested_at=parse_time(row["requested_at"]),
            due_at=parse_time(row["due_at"]),
            attempts=row["attempts"],
        )
        for row in db.execute(query, (format_time(now), limit))
    ]


def _finish_deletions(db: sqlite3.Connection, keys: Sequence[str], now: datetime) -> list[str]:
    query = """UPDATE object_deletions SET deleted_at = ?
        WHERE deleted_at IS NULL AND key IN (SELECT value FROM json_each(?)) RETURNING key"""
    done = [row["key"] for row in db.execute(query, (format_time(now), dump_json(list(keys)))).fetchall()]
    forgotten = format_time(now - DELETION_KEPT)
    db.execute("DELETE FROM object_deletions WHERE deleted_at < ?", (forgotten,))
    return done


def _postpone_deletion(db: sqlite3.Connection, key: str, due_at: datetime) -> None:
    db.execute(
        "UPDATE object_deletions SET due_at = ?, attempts = attempts + 1"
        " WHERE key = ? AND deleted_at IS NULL",
        (format_time(due_at), key),
    )


def _get_installation_id(db: sqlite3.Connection) -> str:
    return str(db.execute("SELECT id FROM installation").fetchone()["id"])

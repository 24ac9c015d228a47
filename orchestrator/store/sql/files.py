"""Which jobs need which objects, and which objects have to be deleted.

Triggers add the outputs of shards and the end of their job (migration 0010).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from orchestrator.jobs.objects import (
    DELETION_KEPT,
    NO_FILE_CHANGES,
    DeletionReason,
    FileChanges,
    ObjectDeletion,
)
from orchestrator.store.sql.database import Database
from orchestrator.store.sql.rows import format_time, parse_time

T = TypeVar("T")

#: In the order of the index of `finished_at`, which ends at the limit however many files have expired.
_SELECT_UNUSED_FILES = """
    SELECT key FROM output_files AS file
    WHERE finished_at < :before AND NOT EXISTS (
        SELECT 1 FROM output_files AS other
        WHERE other.key = file.key AND (other.finished_at IS NULL OR other.finished_at >= :before)
    ) AND NOT EXISTS (SELECT 1 FROM loras WHERE loras.key = file.key)
    ORDER BY finished_at, key LIMIT :limit
"""
_SELECT_UNSHARED_KEYS = """
    SELECT key FROM output_files AS file WHERE job_id = :job_id AND NOT EXISTS (
        SELECT 1 FROM output_files AS other WHERE other.key = file.key AND other.job_id <> :job_id
    )
"""


def list_unused_keys(db: Database, before: datetime, limit: int) -> list[str]:
    rows = db.execute(_SELECT_UNUSED_FILES, {"before": format_time(before), "limit": limit})
    return list(dict.fromkeys(row["key"] for row in rows))


def list_unshared_keys(db: Database, job_id: str) -> list[str]:
    return [row["key"] for row in db.execute(_SELECT_UNSHARED_KEYS, {"job_id": job_id})]


def find_referenced_keys(db: Database, keys: Sequence[str]) -> set[str]:
    query = f"SELECT DISTINCT key FROM output_files WHERE {db.is_in('key')}"
    return {row["key"] for row in db.execute(query, (db.list_value(keys),))}


def find_condemned_keys(db: Database, keys: Sequence[str]) -> set[str]:
    if not keys:
        return set()
    query = f"SELECT key FROM object_deletions WHERE {db.is_in('key')}"
    return {row["key"] for row in db.execute(query, (db.list_value(keys),))}


def write_file_changes(db: Database, changes: FileChanges) -> None:
    if changes == NO_FILE_CHANGES:
        return
    db.executemany("DELETE FROM output_files WHERE job_id = ?", [(id,) for id in changes.dropped_jobs])
    db.executemany("DELETE FROM output_files WHERE key = ?", [(key,) for key in changes.dropped_keys])
    db.executemany(
        "INSERT INTO output_files (key, job_id, finished_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(one.key, one.job_id, one.finished_at and format_time(one.finished_at)) for one in changes.added],
    )
    db.executemany(
        "INSERT INTO object_deletions (key, reason, requested_at, due_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [
            (one.key, one.reason.value, format_time(one.requested_at), format_time(one.due_at))
            for one in changes.deletions
        ],
    )


def list_due_deletions(db: Database, now: datetime, limit: int) -> list[ObjectDeletion]:
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


def finish_deletions(db: Database, keys: Sequence[str], now: datetime) -> list[str]:
    db.lock_names(keys)
    query = f"""UPDATE object_deletions SET deleted_at = ?
        WHERE deleted_at IS NULL AND {db.is_in("key")} RETURNING key"""
    done = [row["key"] for row in db.execute(query, (format_time(now), db.list_value(keys))).fetchall()]
    forgotten = format_time(now - DELETION_KEPT)
    db.execute("DELETE FROM object_deletions WHERE deleted_at < ?", (forgotten,))
    return done


def postpone_deletion(db: Database, key: str, due_at: datetime) -> None:
    db.execute(
        "UPDATE object_deletions SET due_at = ?, attempts = attempts + 1"
        " WHERE key = ? AND deleted_at IS NULL",
        (format_time(due_at), key),
    )


def get_installation_id(db: Database) -> str:
    return str(db.execute("SELECT id FROM installation").fetchone()["id"])

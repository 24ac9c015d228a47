"""Which jobs need which files of the object store. Triggers maintain the rows (migration 0010)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from orchestrator.store.sqlite.rows import format_time

_SELECT_UNUSED_FILES = """
    SELECT key FROM output_files AS file
    WHERE finished_at < :before AND NOT EXISTS (
        SELECT 1 FROM output_files AS other
        WHERE other.key = file.key AND (other.finished_at IS NULL OR other.finished_at >= :before)
    )
    GROUP BY key ORDER BY min(finished_at), key LIMIT :limit
"""


def list_unused_files(db: sqlite3.Connection, before: datetime, limit: int) -> list[str]:
    rows = db.execute(_SELECT_UNUSED_FILES, {"before": format_time(before), "limit": limit})
    return [row["key"] for row in rows]


def detach_job_files(db: sqlite3.Connection, job_id: str) -> list[str]:
    """Drop the job's file records and return the keys that no other job needs, sorted."""
    query = """
        SELECT key FROM output_files AS file WHERE job_id = :job_id AND NOT EXISTS (
            SELECT 1 FROM output_files AS other WHERE other.key = file.key AND other.job_id <> :job_id
        ) ORDER BY key
    """
    keys = [row["key"] for row in db.execute(query, {"job_id": job_id})]
    db.execute("DELETE FROM output_files WHERE job_id = ?", (job_id,))
    return keys


def delete_file_records(db: sqlite3.Connection, keys: Sequence[str], before: datetime) -> None:
    """Delete the records of jobs finished before `before`; those of later jobs remain."""
    rows = [(key, format_time(before)) for key in keys]
    db.executemany("DELETE FROM output_files WHERE key = ? AND finished_at < ?", rows)

"""Queries of attempts."""

from __future__ import annotations

import sqlite3

from orchestrator.jobs import Attempt
from orchestrator.store.sqlite.rows import row_to_attempt


def list_open_attempts(db: sqlite3.Connection) -> list[Attempt]:
    """Return attempts that have not ended, oldest first, of finished jobs too."""
    rows = db.execute("SELECT * FROM attempts WHERE ended_at IS NULL ORDER BY started_at, prompt_id")
    return [row_to_attempt(row) for row in rows]

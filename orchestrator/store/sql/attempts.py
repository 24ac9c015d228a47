"""Queries of attempts."""

from __future__ import annotations

from orchestrator.jobs import Attempt
from orchestrator.store.sql.database import Database
from orchestrator.store.sql.rows import row_to_attempt


def list_open_attempts(db: Database) -> list[Attempt]:
    """Return attempts that have not ended, oldest first, of finished jobs too."""
    rows = db.execute("SELECT * FROM attempts WHERE ended_at IS NULL ORDER BY started_at, prompt_id")
    return [row_to_attempt(row) for row in rows]

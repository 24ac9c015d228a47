"""Dashboard sessions that were ended before they expired."""

from __future__ import annotations

from datetime import datetime

from orchestrator.store.sql.database import Database
from orchestrator.store.sql.rows import format_time


def end_session(db: Database, session_id: str, expires_at: datetime, now: datetime) -> None:
    """Remember that a session has ended, and forget the sessions that have expired."""
    db.execute("DELETE FROM ended_sessions WHERE expires_at <= ?", (format_time(now),))
    db.execute(
        "INSERT INTO ended_sessions (id, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (session_id, format_time(expires_at)),
    )


def is_session_ended(db: Database, session_id: str) -> bool:
    return db.execute("SELECT 1 FROM ended_sessions WHERE id = ?", (session_id,)).fetchone() is not None

"""Dashboard sessions that were ended before they expired."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from orchestrator.store.sqlite.rows import format_time


def end_session(db: sqlite3.Connection, session_id: str, expires_at: datetime, now: datetime) -> None:
    """Remember that a session has ended, and forget the sessions that have expired."""
    db.execute("DELETE FROM ended_sessions WHERE expires_at <= ?", (format_time(now),))
    db.execute(
        "INSERT OR IGNORE INTO ended_sessions (id, expires_at) VALUES (?, ?)",
        (session_id, format_time(expires_at)),
    )


def is_session_ended(db: sqlite3.Connection, session_id: str) -> bool:
    return db.execute("SELECT 1 FROM ended_sessions WHERE id = ?", (session_id,)).fetchone() is not None

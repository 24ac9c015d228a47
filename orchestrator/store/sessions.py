"""The part of the store for dashboard sessions that were ended before they expired."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class SessionStore(Protocol):
    """Ids of ended sessions, kept until the sessions would have expired."""

    async def end_session(self, session_id: str, expires_at: datetime, now: datetime) -> None:
        """Remember that a session has ended, and forget the sessions that have expired."""
        ...

    async def is_session_ended(self, session_id: str) -> bool: ...

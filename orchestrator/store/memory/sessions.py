"""Dashboard sessions in memory that were ended before they expired."""

from __future__ import annotations

from datetime import datetime

from orchestrator.store.memory.tables import MemoryTables


class MemorySessions:
    """Implements `orchestrator.store.sessions.SessionStore`, where each method is described."""

    _tables: MemoryTables

    async def end_session(self, session_id: str, expires_at: datetime, now: datetime) -> None:
        ended = {id: expires for id, expires in self._tables.ended_sessions.items() if expires > now}
        self._tables.ended_sessions = ended | {session_id: ended.get(session_id, expires_at)}

    async def is_session_ended(self, session_id: str) -> bool:
        return session_id in self._tables.ended_sessions

"""References of jobs to objects in memory, and the outbox of deletions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from orchestrator.jobs.objects import DELETION_KEPT, DeletionReason, ObjectDeletion
from orchestrator.store import file_operations
from orchestrator.store.memory.tables import MemoryTables
from orchestrator.store.memory.transaction import MemoryTransaction


class MemoryFiles:
    """Implements `orchestrator.store.files.FileStore`, where each method is described."""

    _tables: MemoryTables
    _tx: MemoryTransaction

    async def add_job_file(self, job_id: str, key: str, *, is_awaited: bool = True) -> None:
        file_operations.add_job_file(self._tx, job_id, key)

    async def remove_job(self, job_id: str, now: datetime) -> list[str]:
        return file_operations.remove_job(self._tx, job_id, now)

    async def expire_files(self, before: datetime, limit: int, now: datetime) -> list[str]:
        return file_operations.expire_files(self._tx, before, limit, now)

    async def discard_files(self, keys: Sequence[str], reason: DeletionReason, now: datetime) -> list[str]:
        return file_operations.discard_files(self._tx, keys, reason, now)

    async def list_due_deletions(self, now: datetime, limit: int) -> list[ObjectDeletion]:
        due = [one for one in self._tables.deletions.values() if one.due_at <= now]
        waiting = [one for one in due if one.key not in self._tables.deleted_at]
        return sorted(waiting, key=lambda one: (one.due_at, one.key))[:limit]

    async def finish_deletions(self, keys: Sequence[str], now: datetime) -> list[str]:
        tables = self._tables
        done = [key for key in keys if key in tables.deletions and key not in tables.deleted_at]
        tables.deleted_at |= dict.fromkeys(done, now)
        for key in [key for key, at in tables.deleted_at.items() if at < now - DELETION_KEPT]:
            del tables.deleted_at[key], tables.deletions[key]
        return done

    async def postpone_deletion(self, key: str, due_at: datetime) -> None:
        deletion = self._tables.deletions.get(key)
        if deletion is not None and key not in self._tables.deleted_at:
            attempts = deletion.attempts + 1
            self._tables.deletions[key] = replace(deletion, due_at=due_at, attempts=attempts)

    async def get_installation_id(self) -> str:
        return self._tables.installation_id

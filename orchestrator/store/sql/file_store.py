"""Which jobs need which objects, and which objects have to be deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.jobs.objects import DeletionReason, ObjectDeletion
from orchestrator.store import file_operations
from orchestrator.store.sql import files
from orchestrator.store.sql.access import SqlAccess


class SqlFiles(SqlAccess):
    """Implements `orchestrator.store.files.FileStore`, where each method is described."""

    async def add_job_file(self, job_id: str, key: str, *, is_awaited: bool = True) -> None:
        change = self._change if is_awaited else self._change_deferred
        await change(file_operations.add_job_file, job_id, key)

    async def remove_job(self, job_id: str, now: datetime) -> list[str]:
        return await self._change(file_operations.remove_job, job_id, now)

    async def expire_files(self, before: datetime, limit: int, now: datetime) -> list[str]:
        return await self._change(file_operations.expire_files, before, limit, now)

    async def discard_files(self, keys: Sequence[str], reason: DeletionReason, now: datetime) -> list[str]:
        return await self._change(file_operations.discard_files, keys, reason, now)

    async def list_due_deletions(self, now: datetime, limit: int) -> list[ObjectDeletion]:
        return await self._db.read(files.list_due_deletions, now, limit)

    async def finish_deletions(self, keys: Sequence[str], now: datetime) -> list[str]:
        return await self._db.write(files.finish_deletions, keys, now)

    async def postpone_deletion(self, key: str, due_at: datetime) -> None:
        await self._db.write(files.postpone_deletion, key, due_at)

    async def get_installation_id(self) -> str:
        return await self._db.read(files.get_installation_id)

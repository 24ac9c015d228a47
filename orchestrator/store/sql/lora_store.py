"""LoRAs that accounts have trained."""

from __future__ import annotations

from datetime import datetime

from orchestrator.jobs.loras import Lora
from orchestrator.store import file_operations
from orchestrator.store.sql import loras
from orchestrator.store.sql.access import SqlAccess
from orchestrator.store.values import Page


class SqlLoras(SqlAccess):
    """Implements `orchestrator.store.loras.LoraStore`, where each method is described."""

    async def list_loras(self, account_id: str, limit: int = 50, cursor: str | None = None) -> Page[Lora]:
        return await self._db.read(loras.list_loras, account_id, limit, cursor)

    async def find_lora(self, account_id: str, reference: str) -> Lora | None:
        return await self._db.read(loras.find_lora, account_id, reference)

    async def expire_loras(self, before: datetime, limit: int, now: datetime) -> int:
        return await self._change(file_operations.expire_loras, before, limit, now)

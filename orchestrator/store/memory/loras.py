"""LoRAs that accounts have trained, in memory."""

from __future__ import annotations

from datetime import datetime

from orchestrator.errors import InvalidRequest
from orchestrator.jobs.loras import Lora
from orchestrator.store import file_operations
from orchestrator.store.memory.tables import MemoryTables
from orchestrator.store.memory.transaction import MemoryTransaction
from orchestrator.store.values import INVALID_CURSOR_MESSAGE, Page


class MemoryLoras:
    """Implements `orchestrator.store.loras.LoraStore`, where each method is described."""

    _tables: MemoryTables
    _tx: MemoryTransaction

    async def list_loras(self, account_id: str, limit: int = 50, cursor: str | None = None) -> Page[Lora]:
        found = self._newest_first(account_id)
        if cursor is not None:
            ids = [lora.job_id for lora in found]
            if cursor not in ids:
                raise InvalidRequest(INVALID_CURSOR_MESSAGE, code="invalid_cursor", param="cursor")
            found = found[ids.index(cursor) + 1 :]
        return Page(items=found[:limit], cursor=found[limit - 1].job_id if len(found) > limit else None)

    async def find_lora(self, account_id: str, reference: str) -> Lora | None:
        found = self._newest_first(account_id)
        exact = (lora for lora in found if reference in (lora.job_id, lora.key))
        named = (lora for lora in found if lora.name == reference)
        return next(exact, None) or next(named, None)

    async def expire_loras(self, before: datetime, limit: int, now: datetime) -> int:
        return file_operations.expire_loras(self._tx, before, limit, now)

    def _newest_first(self, account_id: str) -> list[Lora]:
        own = [lora for lora in self._tables.loras.values() if lora.account_id == account_id]
        return sorted(own, key=lambda lora: (lora.created_at, lora.job_id), reverse=True)

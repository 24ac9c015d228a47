"""The part of the store's interface about LoRAs that accounts have trained; see `orchestrator.jobs.loras`.

`JobStore.finish_shard` adds one, `FileStore.remove_job` deletes it with its job.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from orchestrator.jobs.loras import Lora
from orchestrator.store.values import Page


class LoraStore(Protocol):
    """LoRAs by account."""

    async def list_loras(self, account_id: str, limit: int = 50, cursor: str | None = None) -> Page[Lora]:
        """Return a page of the account's LoRAs, newest first. The cursor is the id of the last one."""
        ...

    async def find_lora(self, account_id: str, reference: str) -> Lora | None:
        """Return the account's LoRA of this job or object key, or else the newest with this name."""
        ...

    async def expire_loras(self, before: datetime, limit: int, now: datetime) -> int:
        """Delete LoRAs that were trained before `before`, and return how many.

        Their objects are condemned, except those that other jobs need: these are when no job needs them.
        """
        ...

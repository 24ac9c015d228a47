"""Quarantined shards in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from orchestrator.jobs import JobError, JobRecord
from orchestrator.jobs.quarantine import QuarantinedShard
from orchestrator.store import operations
from orchestrator.store.lookup import found
from orchestrator.store.memory.tables import MemoryTables
from orchestrator.store.memory.transaction import MemoryTransaction


class MemoryQuarantine:
    """Implements `orchestrator.store.quarantine.QuarantineStore`, where each method is described."""

    _tables: MemoryTables
    _tx: MemoryTransaction

    async def quarantine_shard(
        self, quarantined: QuarantinedShard, error: JobError, now: datetime
    ) -> JobRecord:
        return operations.quarantine_shard(self._tx, quarantined, error, now)

    async def list_quarantined_shards(self, limit: int = 100) -> list[QuarantinedShard]:
        kept = sorted(
            self._tables.quarantined.values(),
            key=lambda shard: (shard.quarantined_at, shard.shard_id),
            reverse=True,
        )
        return [self._with_attempts(shard) for shard in kept[:limit]]

    async def get_quarantined_shard(self, shard_id: str) -> QuarantinedShard:
        kept = found(self._tables.quarantined.get(shard_id), "quarantined shard", shard_id)
        return self._with_attempts(kept)

    async def delete_quarantined_shard(self, shard_id: str) -> None:
        found(self._tables.quarantined.pop(shard_id, None), "quarantined shard", shard_id)

    def _with_attempts(self, shard: QuarantinedShard) -> QuarantinedShard:
        attempts = (one for one in self._tables.attempts.values() if one.shard_id == shard.shard_id)
        return replace(shard, attempts=tuple(sorted(attempts, key=lambda attempt: attempt.number)))

"""The part of the store's interface that keeps quarantined shards for operators."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from orchestrator.jobs import JobError, JobRecord
from orchestrator.jobs.quarantine import QuarantinedShard


class QuarantineStore(Protocol):
    """Shards that are not run again, because instances died while they ran them."""

    async def quarantine_shard(
        self, quarantined: QuarantinedShard, error: JobError, now: datetime
    ) -> JobRecord:
        """Keep a shard and fail its job, whose hold is released. A finished job stays as it is."""
        ...

    async def list_quarantined_shards(self, limit: int = 100) -> list[QuarantinedShard]:
        """Return quarantined shards with their attempts, newest first."""
        ...

    async def get_quarantined_shard(self, shard_id: str) -> QuarantinedShard:
        """Return a quarantined shard with its attempts."""
        ...

    async def delete_quarantined_shard(self, shard_id: str) -> None:
        """Forget a quarantined shard, with its graph. Its job stays failed."""
        ...

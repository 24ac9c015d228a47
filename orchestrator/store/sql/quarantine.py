"""Quarantined shards: kept for operators with their graph."""

from __future__ import annotations

import json

from orchestrator.jobs.quarantine import QuarantinedShard
from orchestrator.store.lookup import found
from orchestrator.store.sql.database import Database, Row
from orchestrator.store.sql.rows import dump_json, format_time, parse_time, row_to_attempt

_SELECT = """
    SELECT quarantined_shards.*, job_id, account_id, model FROM quarantined_shards
    JOIN shards ON shards.id = shard_id JOIN jobs ON jobs.id = job_id
"""


def add_quarantined_shard(db: Database, quarantined: QuarantinedShard) -> None:
    """Keep a shard; one that is kept already stays as it is."""
    graph = None if quarantined.graph is None else dump_json(dict(quarantined.graph))
    db.execute(
        """INSERT INTO quarantined_shards (shard_id, model_digest, graph, quarantined_at)
        VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING""",
        (quarantined.shard_id, quarantined.model_digest, graph, format_time(quarantined.quarantined_at)),
    )


def list_quarantined_shards(db: Database, limit: int) -> list[QuarantinedShard]:
    rows = db.execute(f"{_SELECT} ORDER BY quarantined_at DESC, shard_id DESC LIMIT ?", (limit,)).fetchall()
    return [_to_quarantined_shard(db, row) for row in rows]


def get_quarantined_shard(db: Database, shard_id: str) -> QuarantinedShard:
    """Raises NotFound."""
    row = db.execute(f"{_SELECT} WHERE shard_id = ?", (shard_id,)).fetchone()
    return _to_quarantined_shard(db, found(row, "quarantined shard", shard_id))


def delete_quarantined_shard(db: Database, shard_id: str) -> None:
    """Raises NotFound."""
    deleted = db.execute("DELETE FROM quarantined_shards WHERE shard_id = ?", (shard_id,))
    found(deleted.rowcount or None, "quarantined shard", shard_id)


def _to_quarantined_shard(db: Database, row: Row) -> QuarantinedShard:
    attempts = db.execute("SELECT * FROM attempts WHERE shard_id = ? ORDER BY number", (row["shard_id"],))
    return QuarantinedShard(
        shard_id=row["shard_id"],
        job_id=row["job_id"],
        account_id=row["account_id"],
        model=row["model"],
        model_digest=row["model_digest"],
        graph=None if row["graph"] is None else json.loads(row["graph"]),
        quarantined_at=parse_time(row["quarantined_at"]),
        attempts=tuple(row_to_attempt(attempt) for attempt in attempts),
    )

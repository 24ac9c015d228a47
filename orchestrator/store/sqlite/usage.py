"""What finished jobs came to, by day."""

from __future__ import annotations

import sqlite3
from datetime import date

from orchestrator.store.sqlite.rows import to_usage
from orchestrator.store.values import UsageRow


def usage(
    db: sqlite3.Connection, since: date | None, until: date | None, account_id: str | None
) -> list[UsageRow]:
    rows = db.execute(
        """SELECT * FROM usage_days
        WHERE day >= ? AND day < ? AND (? IS NULL OR account_id = ?)
        ORDER BY day, account_id, key_id, model, simulated""",
        (
            (since or date.min).isoformat(),
            (until or date.max).isoformat(),
            account_id,
            account_id,
        ),
    )
    return [to_usage(row) for row in rows]

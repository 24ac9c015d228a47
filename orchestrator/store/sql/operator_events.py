"""Queries and changes of the log of operators' changes."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from orchestrator.store.operator_events import OperatorEvent
from orchestrator.store.sql.access import SqlAccess
from orchestrator.store.sql.database import Database, Row
from orchestrator.store.sql.rows import dump_json, format_time, insert_row, parse_time
from orchestrator.store.texts import storable_text
from orchestrator.store.values import Page, event_position


def add_event(db: Database, event: OperatorEvent) -> None:
    row = {
        "at": format_time(event.at),
        "actor": storable_text(event.actor),
        "action": event.action,
        "subject": storable_text(event.subject),
        "detail": dump_json(dict(event.detail)),
    }
    insert_row(db, "operator_events", row)


def list_events(
    db: Database, limit: int, position: int | None, action: str | None, subject: str | None
) -> Page[OperatorEvent]:
    conditions, values = ["TRUE"], dict[str, Any](limit=limit + 1)
    if position is not None:
        conditions.append("id < :position")
        values["position"] = position
    if action is not None:
        conditions.append("(action = :action OR substr(action, 1, length(:noun)) = :noun)")
        values |= {"action": action, "noun": f"{action}."}
    if subject is not None:
        conditions.append("subject = :subject")
        values["subject"] = subject
    rows = db.execute(
        f"SELECT * FROM operator_events WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT :limit",
        values,
    ).fetchall()
    found = [_row_to_event(row) for row in rows[:limit]]
    return Page(items=found, cursor=str(found[-1].id) if len(rows) > limit else None)


def forget_events(db: Database, before: datetime) -> int:
    return db.execute("DELETE FROM operator_events WHERE at < ?", (format_time(before),)).rowcount


def _row_to_event(row: Row) -> OperatorEvent:
    return OperatorEvent(
        id=row["id"],
        at=parse_time(row["at"]),
        actor=row["actor"],
        action=row["action"],
        subject=row["subject"],
        detail=json.loads(row["detail"]),
    )


class SqlOperatorEvents(SqlAccess):
    """Implements `orchestrator.store.operator_events.OperatorEventStore`."""

    async def add_operator_event(self, event: OperatorEvent) -> None:
        await self._db.write(add_event, event)

    async def list_operator_events(
        self,
        limit: int = 50,
        cursor: str | None = None,
        *,
        action: str | None = None,
        subject: str | None = None,
    ) -> Page[OperatorEvent]:
        return await self._db.read(list_events, limit, event_position(cursor), action, subject)

    async def forget_operator_events(self, before: datetime) -> int:
        return await self._db.write(forget_events, before)

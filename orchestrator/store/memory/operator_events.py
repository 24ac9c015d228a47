"""The log of operators' changes in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from orchestrator.store.memory.tables import MemoryTables
from orchestrator.store.operator_events import OperatorEvent
from orchestrator.store.texts import storable_text
from orchestrator.store.values import Page, event_position


class MemoryOperatorEvents:
    """Implements `orchestrator.store.operator_events.OperatorEventStore`."""

    _tables: MemoryTables

    async def add_operator_event(self, event: OperatorEvent) -> None:
        self._tables.last_operator_event += 1
        stored = replace(
            event,
            id=self._tables.last_operator_event,
            actor=storable_text(event.actor),
            subject=storable_text(event.subject),
        )
        self._tables.operator_events.append(stored)

    async def list_operator_events(
        self,
        limit: int = 50,
        cursor: str | None = None,
        *,
        action: str | None = None,
        subject: str | None = None,
    ) -> Page[OperatorEvent]:
        position = event_position(cursor)
        matching = [
            event
            for event in reversed(self._tables.operator_events)
            if (position is None or event.id < position)
            and (action is None or event.action == action or event.action.startswith(f"{action}."))
            and subject in (None, event.subject)
        ]
        found = matching[:limit]
        return Page(items=found, cursor=str(found[-1].id) if len(matching) > limit else None)

    async def forget_operator_events(self, before: datetime) -> int:
        kept = [event for event in self._tables.operator_events if event.at >= before]
        forgotten = len(self._tables.operator_events) - len(kept)
        self._tables.operator_events = kept
        return forgotten

"""The part of the store's interface that keeps what operators have changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from orchestrator.store.values import Page


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorEvent:
    """A change that an operator, an author or the service itself has made. It is never changed."""

    at: datetime
    #: Who: `operator`, `operator NAME`, `command line (USER)`, `key NAME (ID)`, or `service`.
    actor: str
    #: What, as `NOUN.VERB`, such as `instances.drain`.
    action: str
    #: Id of what was changed; empty if it has none.
    subject: str
    #: Further facts; never secrets or prompts.
    detail: Mapping[str, Any] = field(default_factory=dict)
    #: Order in the log; 0 before it is stored.
    id: int = 0


class OperatorEventStore(Protocol):
    """The log of changes by operators."""

    async def add_operator_event(self, event: OperatorEvent) -> None:
        """Append an event. A repeated call appends another one."""
        ...

    async def list_operator_events(
        self,
        limit: int = 50,
        cursor: str | None = None,
        *,
        action: str | None = None,
        subject: str | None = None,
    ) -> Page[OperatorEvent]:
        """Return a page of events, newest first.

        `action` is an action, or the noun of several. The cursor is the id of the last event of a page.
        Raises InvalidRequest for another one.
        """
        ...

    async def forget_operator_events(self, before: datetime) -> int:
        """Delete the events of earlier times, and return their number."""
        ...

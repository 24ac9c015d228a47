"""SQLite's dialect: a connection that has the database for itself while its transaction writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from orchestrator.store.signals import StoreEvent


class SqliteDatabase(sqlite3.Connection):
    """Implements `orchestrator.store.sql.database.Database`, where each method is described."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.row_factory = sqlite3.Row
        #: Events of the transaction, to publish once it is committed.
        self.events: list[StoreEvent] = []

    def is_in(self, column: str, value: str = "?") -> str:
        return f"{column} IN (SELECT value FROM json_each({value}))"

    def list_value(self, items: Iterable[str] | Iterable[int]) -> str:
        return json.dumps(list(items))

    def use_index(self, name: str) -> str:
        return f"INDEXED BY {name}"

    def batch(self) -> AbstractContextManager[object]:
        return nullcontext()

    def lock_rows(self, query: str, values: Sequence[Any]) -> None:
        """A transaction that writes has the only write lock of the database."""

    def lock_names(self, names: Iterable[str]) -> None:
        """As with `lock_rows`, there is nothing left to lock."""

    def skip_locked(self) -> str:
        return ""

    def signal(self, events: Iterable[StoreEvent]) -> None:
        self.events.extend(events)


def connect(path: str | Path, **options: Any) -> SqliteDatabase:
    """Open a database whose transactions begin and end only where a statement says so."""
    return sqlite3.connect(path, isolation_level=None, factory=SqliteDatabase, **options)

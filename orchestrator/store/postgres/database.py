"""PostgreSQL's dialect: a connection within a transaction that runs beside others."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from psycopg import Connection, Cursor

from orchestrator.store.signals import StoreEvent
from orchestrator.store.sql.database import Rows

#: The locks of names that have no row; the second half is the checksum of the name.
NAME_LOCK = 0x5046_0002
#: Strings, which stay as they are, and what stands for a value.
_TOKENS = re.compile(r"'(?:[^']|'')*'|(?P<mark>\?)|(?<!:):(?P<name>[a-z_]+)\b|(?P<percent>%)")


@lru_cache(maxsize=512)
def to_postgres(query: str, has_values: bool) -> bytes:
    """Convert a query with `?` or `:name` to PostgreSQL's driver, which has `%s` and `%(name)s`."""

    def convert(match: re.Match[str]) -> str:
        if match["mark"]:
            return "%s"
        if match["name"]:
            return f"%({match['name']})s"
        return match[0].replace("%", "%%")

    return (_TOKENS.sub(convert, query) if has_values else query).encode()


class PostgresDatabase:
    """Implements `orchestrator.store.sql.database.Database`, where each method is described."""

    def __init__(self, connection: Connection[dict[str, Any]]) -> None:
        self.connection = connection
        #: Events of the transaction, to publish once it is committed.
        self.events: list[StoreEvent] = []

    def execute(self, query: str, values: Sequence[Any] | Mapping[str, Any] = (), /) -> Rows:
        cursor: Cursor[dict[str, Any]] = self.connection.execute(
            to_postgres(query, bool(values)), values or None
        )
        return cursor

    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> None:
        for row in rows:
            self.execute(query, row)

    def is_in(self, column: str, value: str = "?") -> str:
        return f"{column} = ANY({value})"

    def list_value(self, items: Iterable[str] | Iterable[int]) -> list[str] | list[int]:
        return list(items)  # type: ignore[return-value]

    def use_index(self, name: str) -> str:
        return ""

    def batch(self) -> AbstractContextManager[object]:
        return self.connection.pipeline()

    def lock_rows(self, query: str, values: Sequence[Any]) -> None:
        # Rows that refer to a locked one may be added meanwhile: its key does not change.
        self.execute(f"{query} FOR NO KEY UPDATE", values).fetchall()

    def lock_names(self, names: Iterable[str]) -> None:
        # In a fixed order, so that two transactions do not wait for each other.
        numbers = sorted({zlib.crc32(name.encode("utf-8", "surrogatepass")) - 2**31 for name in names})
        if numbers:
            self.connection.execute(
                "SELECT pg_advisory_xact_lock(%s, number) FROM unnest(%s::int[]) AS number",
                (NAME_LOCK, numbers),
            )

    def skip_locked(self) -> str:
        return "FOR NO KEY UPDATE SKIP LOCKED"

    def signal(self, events: Iterable[StoreEvent]) -> None:
        self.events.extend(events)

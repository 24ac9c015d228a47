"""A database connection as the store's queries use it, and what its dialect writes differently.

Queries are written with `?` or `:name` for values. Everything that SQLite and PostgreSQL understand alike is
written once; the methods of `Database` give the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from orchestrator.store.signals import StoreEvent


class Row(Protocol):
    """A row of a result, by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


class Rows(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """Number of rows that the statement changed."""
        ...

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """One connection within a transaction."""

    def execute(self, query: str, values: Sequence[Any] | Mapping[str, Any] = (), /) -> Rows: ...

    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> object:
        """Execute a statement without a result once for each row."""
        ...

    def is_in(self, column: str, value: str = "?") -> str:
        """Return the condition that a column is in a list; `value` stands for the `list_value`."""
        ...

    def list_value(self, items: Iterable[str] | Iterable[int]) -> object:
        """Return what to pass for the list of `is_in`."""
        ...

    def use_index(self, name: str) -> str:
        """Return what follows a table's name where SQLite's planner has to be shown an index."""
        ...

    def batch(self) -> AbstractContextManager[object]:
        """Return a context for statements whose results are not needed: they need not be waited for."""
        ...

    def lock_rows(self, query: str, values: Sequence[Any]) -> None:
        """Lock the rows of a query until the transaction ends, and wait for those that others have locked.

        Does nothing where a transaction has the whole database for itself.
        """
        ...

    def lock_names(self, names: Iterable[str]) -> None:
        """Lock names that need not have a row, as `lock_rows` does."""
        ...

    def skip_locked(self) -> str:
        """Return what ends a query so that it locks its rows and leaves out locked ones."""
        ...

    def signal(self, events: Iterable[StoreEvent]) -> None:
        """Publish events once the transaction is committed."""
        ...

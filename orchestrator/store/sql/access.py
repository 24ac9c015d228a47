"""How the parts of the store reach the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from orchestrator.store.sql.transaction import SqlTransaction

T = TypeVar("T")


class Databases(Protocol):
    """The connections of a store."""

    async def write(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return the result of `function(database, *arguments)` in a transaction, once that is on disk.

        The function may be called again if another transaction was in its way. Raises what it raises, and
        ServiceUnavailable if the database cannot be written now.
        """
        ...

    async def write_deferred(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do the same, perhaps a moment later together with other writes: for what no caller waits for."""
        ...

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return the result of `function(database, *arguments)` on one snapshot of what is committed."""
        ...

    async def read_rows(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do the same for a few rows that are read all the time: at once where a thread would cost more."""
        ...

    async def read_long(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do the same for what may read everything of an account; it leaves readers for other calls."""
        ...

    async def close(self) -> None:
        """Finish what was begun, then close every connection."""
        ...


class SqlAccess:
    """Runs the operations of `orchestrator.store`, which are the same for every store."""

    _db: Databases

    async def _change(self, operation: Callable[..., T], *arguments: Any) -> T:
        """Run an operation in a write transaction."""
        return await self._db.write(lambda db: operation(SqlTransaction(db), *arguments))

    async def _change_deferred(self, operation: Callable[..., T], *arguments: Any) -> T:
        """Run an operation for which no caller waits in a write transaction, perhaps with others."""
        return await self._db.write_deferred(lambda db: operation(SqlTransaction(db), *arguments))

    async def _read(self, operation: Callable[..., T], *arguments: Any) -> T:
        """Run an operation that only reads, on a snapshot."""
        return await self._db.read(lambda db: operation(SqlTransaction(db), *arguments))

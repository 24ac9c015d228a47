"""How the parts of the store reach the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from orchestrator.store.sqlite.connection import ConnectionPool
from orchestrator.store.sqlite.transaction import SqliteTransaction

T = TypeVar("T")


class SqliteAccess:
    """Runs the operations of `orchestrator.store`, which are the same for every store."""

    _db: ConnectionPool

    async def _change(self, operation: Callable[..., T], *arguments: Any) -> T:
        """Run an operation in a write transaction."""
        return await self._db.write(lambda db: operation(SqliteTransaction(db), *arguments))

    async def _read(self, operation: Callable[..., T], *arguments: Any) -> T:
        """Run an operation that only reads, on a snapshot."""
        return await self._db.read(lambda db: operation(SqliteTransaction(db), *arguments))

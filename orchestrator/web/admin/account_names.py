"""Names of accounts and keys for operators' pages, read again after a while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Protocol

from orchestrator.store import Account, ApiKey

#: How long names are believed, in seconds.
KEPT_SECONDS = 60.0
#: The same if an id is asked for that is not among them.
RETRY_SECONDS = 1.0


class NameStore(Protocol):
    """The part of the store that has the names."""

    async def list_accounts(self) -> list[Account]: ...

    async def list_keys(self, account_id: str | None = None) -> list[ApiKey]: ...


class AccountNames:
    """Looks up names by id."""

    def __init__(self, store: NameStore) -> None:
        self._store = store
        self._names: dict[str, str] = {}
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    async def read(self, wanted: Iterable[str] = ()) -> Mapping[str, str]:
        """Return the names of accounts and keys by id, with those that are `wanted` now."""
        async with self._lock:
            kept = KEPT_SECONDS if all(id in self._names for id in wanted) else RETRY_SECONDS
            if monotonic() - self._read_at > kept:
                accounts, keys = await self._store.list_accounts(), await self._store.list_keys()
                self._names = {one.id: one.name for one in accounts} | {one.id: one.name for one in keys}
                self._read_at = monotonic()
        return self._names

"""Counts of requests in the database, so that all API processes enforce one rate limit.

A count is lost with a crash of the database, and with it at most a minute of counting: the table is not
logged, and a commit waits for no disk.
"""

from __future__ import annotations

from collections import OrderedDict
from time import time
from typing import Any

from limits.aio.storage import Storage

from orchestrator.errors import ServiceUnavailable
from orchestrator.store.postgres.connections import ConnectionPool
from orchestrator.store.sql.database import Database

#: Counts whose last value this process remembers, so that a request needs one write and no read.
MAX_REMEMBERED = 10_000
#: After this many counted requests the expired rows are deleted.
SWEEP_EVERY = 1000
#: A new window begins when the last one is over, by the clock of the database.
_COUNT = """
    INSERT INTO request_counts AS old (key, count, expires_at)
    VALUES (:key, :amount, clock_timestamp() + make_interval(secs => :seconds))
    ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN old.expires_at > clock_timestamp() THEN old.count ELSE 0 END + excluded.count,
        expires_at = CASE WHEN old.expires_at > clock_timestamp() THEN old.expires_at
            ELSE excluded.expires_at END
    RETURNING count, extract(epoch FROM expires_at - clock_timestamp())::float8 AS remaining"""


class PostgresRequestCounts(Storage):
    """Implements a storage of the library `limits` on the connections of a store."""

    STORAGE_SCHEME = None

    def __init__(self, pool: ConnectionPool) -> None:
        super().__init__(wrap_exceptions=True)
        self._pool = pool
        #: Count and end of the window by this process's clock, for each key.
        self._remembered: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._counted = 0

    @property
    def base_exceptions(self) -> type[Exception]:
        return ServiceUnavailable

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a count, and return it; it begins anew `expiry` seconds after its first request."""
        self._counted += 1
        count, remaining = await self._pool.write(_add, key, expiry, amount, self._counted % SWEEP_EVERY == 0)
        self._remembered[key] = (count, time() + remaining)
        self._remembered.move_to_end(key)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return int(count)

    async def get(self, key: str) -> int:
        """Return a count as this process last knew it."""
        return (await self._find(key))[0]

    async def get_expiry(self, key: str) -> float:
        """Return the POSIX time at which a count begins anew, by the clock of this process."""
        return (await self._find(key))[1]

    async def check(self) -> bool:
        """Return whether the database answers."""
        try:
            await self._pool.read(lambda db: db.execute("SELECT 1").fetchone())
        except ServiceUnavailable:
            return False
        return True

    async def reset(self) -> int | None:
        """Delete all counts; return their number."""
        self._remembered.clear()
        return await self._pool.write(lambda db: db.execute("DELETE FROM request_counts").rowcount)

    async def clear(self, key: str) -> None:
        """Delete a count."""
        self._remembered.pop(key, None)
        await self._pool.write(lambda db: db.execute("DELETE FROM request_counts WHERE key = ?", (key,)))

    async def _find(self, key: str) -> tuple[int, float]:
        count, ends_at = self._remembered.get(key, (0, 0.0))
        if ends_at > time():
            return count, ends_at
        row = await self._pool.read(_find, key)
        return (0, time()) if row is None else (int(row["count"]), time() + row["remaining"])


def _add(db: Database, key: str, seconds: int, amount: int, sweep: bool) -> tuple[int, float]:
    db.execute("SET LOCAL synchronous_commit = off")
    if sweep:
        db.execute("DELETE FROM request_counts WHERE expires_at < clock_timestamp() - interval '1 minute'")
    row = db.execute(_COUNT, {"key": key, "amount": amount, "seconds": seconds}).fetchone()
    return row["count"], row["remaining"]


def _find(db: Database, key: str) -> Any:
    query = """SELECT count, extract(epoch FROM expires_at - clock_timestamp())::float8 AS remaining
        FROM request_counts WHERE key = ? AND expires_at > clock_timestamp()"""
    return db.execute(query, (key,)).fetchone()

"""A store with one funded account, and helpers that add, start and finish jobs in it.

`STORES` names the implementations that the suite runs against; `open_world` audits the ledger on exit.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from orchestrator.files.secret_box import KEY_FILE_NAME, SecretBox
from orchestrator.jobs import Attempt, Job, JobRecord, Output, Usage, create_shards
from orchestrator.store import (
    Account,
    ApiKey,
    Claim,
    DeliveryAttempt,
    MessageReceiver,
    Store,
    WebhookMessage,
)
from orchestrator.store.memory import MemoryStore, MemoryTables
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.sqlite.migrations import migrate

STORES = ("sqlite", "memory", "postgres")
#: Tables of the in-memory stores by directory, so that a store can be opened again.
_TABLES: dict[Path, MemoryTables] = {}
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PICTURE = Output(
    key="outputs/ab/abcd.png", content_type="image/png", size=9, sha256="ab" * 32, width=64, height=64
)
USAGE = Usage(gpu_seconds=1.5)


def picture_of(attempt: Attempt) -> Output:
    """Return a picture whose object is the attempt's own, as in the service.

    Where attempts lose against a cancellation, PICTURE is condemned, and no later shard takes it.
    """
    return replace(PICTURE, key=f"outputs/{attempt.prompt_id}.png")


def delivery(message: WebhookMessage, at: datetime, error: str | None = None) -> DeliveryAttempt:
    """Return a delivery attempt that succeeded, or failed with an error such as `HTTP 500`."""
    status = int(error.removeprefix("HTTP ")) if error else 200
    return DeliveryAttempt(message_id=message.id, at=at, seconds=0.25, http_status=status, error=error)


async def due_messages(
    store: Store, now: datetime, limit: int = 50, receiver: MessageReceiver | None = None
) -> list[WebhookMessage]:
    """Return the messages that a sender would get, which leaves them to the next one."""
    messages = await store.claim_messages(Claim("looker", now), now, limit, receiver)
    await store.release_claims("looker")
    return messages


def open_store(kind: str, directory: Path) -> Store:
    """Open a store; opening the same directory again finds what was written before."""
    match kind:
        case "sqlite":
            path = directory / "store.db"
            if not path.exists():
                _make_sqlite_database(path)
            return SqliteStore(path)
        case "memory":
            return MemoryStore(_TABLES.setdefault(directory, MemoryTables()))
        case "postgres":
            return open_postgres(directory)
    raise ValueError(f"there is no store {kind!r}")


def _make_sqlite_database(path: Path) -> None:
    """Make a new database as the store does, in a fifth of the time: as a copy that has the schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_new_sqlite_database())
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE installation SET id = lower(hex(randomblob(16)))")


@cache
def _new_sqlite_database() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "new.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            migrate(db)
        return path.read_bytes()


def open_postgres(directory: Path) -> Store:
    """Open the database that belongs to a directory; skip the test without PostgreSQL."""
    # Imported here, so that the tests of other stores need no PostgreSQL.
    pytest.importorskip("psycopg", reason="needs the extra `postgres`")
    from orchestrator.store.postgres.store import PostgresStore
    from tests.support.postgres import database_url

    return PostgresStore(database_url(directory), SecretBox(directory / KEY_FILE_NAME), max_connections=6)


@dataclass
class StoreHarness:
    store: Store
    account: Account
    key: ApiKey
    numbers: count[int] = field(default_factory=lambda: count(1))
    now: datetime = START

    def later(self, seconds: float = 1) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    def job(self, price: int = 10_000, **changes: Any) -> Job:
        fields: dict[str, Any] = {
            "id": f"job-{next(self.numbers)}",
            "account_id": self.account.id,
            "key_id": self.key.id,
            "model": "sdxl-1.0",
            "params": {"prompt": "a fox", "seed": 7},
            "price": price,
            "created_at": self.later(),
        }
        return Job(**{**fields, **changes})

    async def add(self, n: int = 1, price: int = 10_000, **changes: Any) -> JobRecord:
        job = self.job(price, **changes)
        record, created = await self.store.add_job(job, create_shards(job, n))
        assert created
        return record

    async def start(
        self, record: JobRecord, index: int = 0, number: int = 1, instance: str = "sim-0"
    ) -> Attempt:
        attempt = self.attempt(record, index, number, instance)
        assert await self.store.start_attempt(attempt)
        return attempt

    def attempt(self, record: JobRecord, index: int = 0, number: int = 1, instance: str = "sim-0") -> Attempt:
        shard_id = record.shards[index].id
        return Attempt(
            prompt_id=f"{shard_id}/{number}",
            shard_id=shard_id,
            number=number,
            instance_id=instance,
            started_at=self.later(),
        )

    async def finish(
        self, attempt: Attempt, outputs: Sequence[Output] = (PICTURE,), usage: Usage = USAGE
    ) -> JobRecord:
        return await self.store.finish_shard(attempt.prompt_id, outputs, usage, self.later())

    async def succeed(self, n: int = 1, price: int = 10_000, **changes: Any) -> JobRecord:
        record = await self.add(n, price, **changes)
        for index in range(n):
            record = await self.finish(await self.start(record, index))
        return record

    async def again(self, record: JobRecord) -> JobRecord:
        """Return the job as it is stored now."""
        found = await self.store.find_job(record.job.id)
        assert found is not None
        return found

    async def wallet(self) -> tuple[int, int]:
        """Return the available and the held micro-dollars."""
        balance = await self.store.get_balance(self.account.id)
        return balance.available, balance.held


async def populate(store: Store, micros: int) -> StoreHarness:
    account = await store.add_account("Ada", "free", START)
    key = await store.add_key(account.id, "0" * 64, "pk-Ab3d", "laptop", START)
    if micros:
        await store.credit(account.id, micros, "opening", START)
    return StoreHarness(store, account, key)


@asynccontextmanager
async def open_world(kind: str, directory: Path, micros: int = 1_000_000) -> AsyncIterator[StoreHarness]:
    store = open_store(kind, directory)
    try:
        yield await populate(store, micros)
        assert await store.audit_ledger() == []
    finally:
        await store.close()


async def keep_working(world: StoreHarness) -> None:
    """Add jobs and finish them, and print what was committed, until the process is killed."""
    while True:
        record = await world.add(n=2)
        print("added", record.job.id, flush=True)
        attempts = await asyncio.gather(world.start(record, 0), world.start(record, 1))
        await asyncio.gather(*(world.finish(attempt) for attempt in attempts))
        print("finished", record.job.id, flush=True)

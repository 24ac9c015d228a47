"""Measures the ledger: holds and captures per second, and read times as it grows.

    .venv/bin/python -m scripts.bench.ledger [--jobs 2000] [--entries 1000 100000 1000000]

The reference is bare SQLite: one thread that writes rows of the same number and size with the same
durability, in one transaction per hold and per capture.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.jobs import Attempt, Job, Output, Usage, create_shards
from orchestrator.store import Account
from orchestrator.store.sql.store import SqlStore
from orchestrator.store.sqlite import SqliteStore

START_TIME = datetime(2026, 1, 1, tzinfo=UTC)
PARAMS = {"prompt": "a red fox in a snowy forest, golden hour, highly detailed" * 4, "seed": 7, "n": 1}
OUTPUT = Output(
    key="outputs/ab/" + "ab" * 32 + ".png", content_type="image/png", size=10**6, sha256="ab" * 32
)
ROW_BODY = "x" * len(json.dumps(PARAMS))


async def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--jobs", type=int, default=2000)
    arguments.add_argument("--entries", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        await measure_throughput(Path(directory), options.jobs)
        for count in options.entries:
            await measure_read_times(Path(directory), count)


async def measure_throughput(directory: Path, jobs: int) -> None:
    bare = bare_sqlite_rate(directory / "bare.db", jobs)
    print(f"bare SQLite      {bare:8.0f} jobs/s  (two transactions of 3 and 6 rows each)")
    for together in (1, 64):
        rate = await store_rate(SqliteStore(directory / f"store-{together}.db"), jobs, together)
        print(f"store, {together:3} at once {rate:7.0f} jobs/s  ({rate / bare:.2f} of bare)")


def bare_sqlite_rate(path: Path, jobs: int) -> float:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT)")
    begun = time.perf_counter()
    for _ in range(jobs):
        for rows in (3, 6):
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO rows (body) VALUES (?)", [(ROW_BODY,)] * rows)
            db.execute("COMMIT")
    elapsed = time.perf_counter() - begun
    db.close()
    return jobs / elapsed


async def store_rate(store: SqlStore, jobs: int, concurrency: int) -> float:
    """Return jobs per second from hold to capture (`add_job`, `start_attempt`, `finish_shard`); closes it."""
    account = await store.add_account("bench", "standard", START_TIME)
    await store.credit(account.id, jobs * 10_000, "bench", START_TIME)
    numbers = iter(range(jobs))

    async def worker() -> None:
        for number in numbers:
            await run_one_job(store, account, f"job-{number}")

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    elapsed = time.perf_counter() - begun
    assert (await store.get_balance(account.id)).total == 0
    assert await store.audit_ledger() == []
    await store.close()
    return jobs / elapsed


async def run_one_job(store: SqlStore, account: Account, id: str) -> None:
    job = Job(
        id=id,
        account_id=account.id,
        key_id="key",
        model="sdxl-1.0",
        params=PARAMS,
        price=10_000,
        created_at=START_TIME,
    )
    record, _ = await store.add_job(job, create_shards(job, 1))
    shard_id = record.shards[0].id
    attempt = Attempt(prompt_id=id, shard_id=shard_id, number=1, instance_id="gpu-0", started_at=START_TIME)
    await store.start_attempt(attempt)
    await store.finish_shard(id, [OUTPUT], Usage(gpu_seconds=1), START_TIME)


async def measure_read_times(directory: Path, count: int) -> None:
    path = directory / f"{count}.db"
    store = SqliteStore(path)
    account = await store.add_account("bench", "standard", START_TIME)
    fill_ledger(path, account.id, count)
    until = START_TIME + timedelta(seconds=count)
    timings = {
        "balance": await median_ms(lambda: store.get_balance(account.id)),
        "ledger page": await median_ms(lambda: store.list_ledger_entries(account.id)),
        "usage of a month": await median_ms(
            lambda: store.list_usage(START_TIME.date(), START_TIME.date() + timedelta(31))
        ),
        "statement of an hour": await median_ms(
            lambda: store.get_statement(account.id, until - timedelta(hours=1), until)
        ),
    }
    print(f"{count:>9} entries  " + "  ".join(f"{name} {ms:.2f} ms" for name, ms in timings.items()))
    await store.close()


def fill_ledger(path: Path, account_id: str, count: int) -> None:
    """Insert a payment of one micro-dollar per second, and a year of usage of three models."""
    db = sqlite3.connect(path)
    entries = (
        (
            f"k{n}",
            account_id,
            f"wallet:{account_id}",
            (START_TIME + timedelta(seconds=n)).isoformat("T", "microseconds"),
        )
        for n in range(count)
    )
    db.executemany(
        "INSERT INTO entries (key, kind, account_id, source, target, micros, at)"
        " VALUES (?, 'credit', ?, 'funding', ?, 1, ?)",
        entries,
    )
    days = ((START_TIME + timedelta(days=n)).date().isoformat() for n in range(365))
    db.executemany(
        "INSERT INTO usage_days VALUES (?, ?, 'key', ?, 0, 1, 1, 0, 1.0)",
        [(day, account_id, model) for day in days for model in ("a", "b", "c")],
    )
    db.commit()
    db.close()


async def median_ms(call: Callable[[], Awaitable[object]], times: int = 21) -> float:
    """Return the median duration of `call` in milliseconds."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


if __name__ == "__main__":
    asyncio.run(main())

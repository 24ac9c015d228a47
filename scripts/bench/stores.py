"""Compares the stores on PostgreSQL and SQLite: jobs per second, end to end and in the store, and claims.

    .venv/bin/python -m scripts.bench.stores [--jobs 1000] [--waiting 1000 100000] [--million] [--quick]

A temporary PostgreSQL cluster runs on the same disk, with flushes at each commit, as SQLite has. `--million`
adds a million waiting shards and messages.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from orchestrator.cli.service_access.serving import THREAD_SWITCH_SECONDS
from orchestrator.files.secret_box import SecretBox
from orchestrator.jobs import Attempt
from orchestrator.store import Claim
from orchestrator.store.postgres.store import PostgresStore
from orchestrator.store.sql.store import SqlStore
from orchestrator.store.sqlite import SqliteStore
from scripts.bench.ledger import run_one_job
from scripts.bench.report import save_results
from scripts.postgres_cluster import PostgresCluster
from tests.support.api import submit_job, wait_for_job
from tests.support.service import DATABASE_URL, ServiceProcess, running

KINDS = ("sqlite", "postgres")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
IMAGE = {"model": "sdxl-1.0", "prompt": "a red fox", "width": 256, "height": 256, "response_format": "url"}
#: Callers at once, end to end; and claims at once and in one transaction.
CALLERS, CLAIMERS, CLAIMED_AT_ONCE = 8, 8, 10
#: As they are flushed in production.
DURABLE = ("fsync=on", "full_page_writes=on", "autovacuum=on", "shared_buffers=256MB")
_SERIES = "WITH RECURSIVE series (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM series WHERE n < {last})"
#: Rows of one transaction that fills a database.
_FILLED_AT_ONCE = 50_000
_ADD_ACCOUNT = (
    "INSERT INTO accounts (id, name, plan, created_at, plan_since)"
    " VALUES ('acct_bench', 'bench', 'free', '{now}', '{now}')"
)
_FILL = (
    _SERIES + " INSERT INTO jobs (id, account_id, key_id, model, params, price, status, created_at)"
    " SELECT 'job-' || n, 'acct_bench', 'key', 'm', '{{}}', 0, 'queued', '{now}' FROM series",
    _SERIES + " INSERT INTO shards (id, job_id, position, params, status)"
    " SELECT 'job-' || n || '-0', 'job-' || n, 0, '{{}}', 'waiting' FROM series",
    _SERIES + " INSERT INTO outbox (account_id, topic, payload, url, receiver, created_at, due_at)"
    " SELECT 'acct_bench', 'job.failed', '{{}}', 'http://a.example/', 'a.example:80', '{now}', '{now}'"
    " FROM series",
)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where databases are made."""

    directory: Path
    cluster: PostgresCluster
    numbers: count[int]

    @asynccontextmanager
    async def store(self, kind: str) -> AsyncIterator[SqlStore]:
        """Open an empty store."""
        number, box = next(self.numbers), SecretBox(self.directory / "key")
        if kind == "sqlite":
            store: SqlStore = SqliteStore(self.directory / f"{number}.db", secret_box=box)
        else:
            store = PostgresStore(self.cluster.create_database(f"bench_{number}"), box)
        try:
            yield store
        finally:
            await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--waiting", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    # As in the service: a thread that computes does not keep the others waiting for long.
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    jobs = 50 if options.quick else options.jobs
    waiting = [1_000] if options.quick else options.waiting + [1_000_000] * options.million
    cluster = PostgresCluster(*DURABLE)
    try:
        cluster.start()
        with tempfile.TemporaryDirectory(prefix="pixelfactory-bench-") as directory:
            bench = Bench(Path(directory), cluster, count(1))
            results = measure(bench, jobs, waiting)
    finally:
        cluster.remove()
    if not options.quick:
        save_results("stores", results)


def measure(bench: Bench, jobs: int, waiting: Sequence[int]) -> dict[str, Any]:
    """Measure one kind after the other, each step of both in the same minute."""
    rows: dict[str, Any] = {"jobs": jobs, "store": [], "end_to_end": [], "claims": []}
    for together, accounts in ((1, 1), (64, 1), (64, 16)):
        rates = {kind: asyncio.run(store_rate(bench, kind, jobs, together, accounts)) for kind in KINDS}
        rows["store"].append(
            {"at_once": together, "accounts": accounts, **show("store jobs", rates, together)}
        )
    rates = {kind: asyncio.run(end_to_end_rate(bench, kind, max(jobs // 5, 20))) for kind in KINDS}
    rows["end_to_end"].append({"callers": CALLERS, **show("end to end jobs", rates, CALLERS)})
    for number in waiting:
        shards = {kind: asyncio.run(claim_rates(bench, kind, number, jobs)) for kind in KINDS}
        for position, what in enumerate(("shards", "messages")):
            found = {kind: rates[position] for kind, rates in shards.items()}
            rows["claims"].append(
                {"waiting": number, "what": what, **show(f"claims of {what}", found, number)}
            )
    return rows


def show(name: str, rates: dict[str, float], number: int) -> dict[str, float]:
    """Print rates per second with their ratio, and return them rounded."""
    ratio = rates["postgres"] / rates["sqlite"]
    line = "  ".join(f"{kind} {rate:8.0f} /s" for kind, rate in rates.items())
    print(f"{name:20} {number:>9}  {line}  ratio {ratio:.2f}", flush=True)
    return {
        **{f"{kind}_per_second": round(rate, 1) for kind, rate in rates.items()},
        "ratio": round(ratio, 3),
    }


async def store_rate(bench: Bench, kind: str, jobs: int, together: int, accounts: int) -> float:
    """Return jobs per second from hold to capture: `add_job`, `start_attempt`, `finish_shard`."""
    async with bench.store(kind) as store:
        owners = [await store.add_account("bench", "standard", NOW) for _ in range(accounts)]
        for owner in owners:
            await store.credit(owner.id, jobs * 10_000, "bench", NOW)

        async def run(number: int) -> None:
            await run_one_job(store, owners[number % accounts], f"job-{number}")

        rate = await rate_of(run, jobs, together)
        assert await store.audit_ledger() == []
        return rate


def attempt_of(shard_id: str) -> Attempt:
    return Attempt(
        prompt_id=f"p-{shard_id}", shard_id=shard_id, number=1, instance_id="gpu-0", started_at=NOW
    )


async def rate_of(run: Callable[[int], Awaitable[None]], times: int, together: int) -> float:
    """Return how often per second `run` ends, several at once."""
    numbers = iter(range(times))

    async def work() -> None:
        for number in numbers:
            await run(number)

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(together)))
    return times / (time.perf_counter() - begun)


async def end_to_end_rate(bench: Bench, kind: str, jobs: int) -> float:
    """Return jobs per second of the whole service with two simulated instances that do not wait."""
    number = next(bench.numbers)
    environment = {"PIXELFACTORY_SIMULATOR_TIME_SCALE": "0"}
    if kind == "postgres":
        environment[DATABASE_URL] = bench.cluster.create_database(f"service_{number}")
    with running(ServiceProcess(bench.directory / f"service-{number}", environment=environment)) as service:
        async with service.client(service.key("100.00")) as http:

            async def run(_: int) -> None:
                await wait_for_job(http, await submit_job(http, IMAGE), seconds=120)

            await rate_of(run, CALLERS * 2, CALLERS)
            return await rate_of(run, jobs, CALLERS)


async def claim_rates(bench: Bench, kind: str, waiting: int, claims: int) -> tuple[float, float]:
    """Return claims per second of shards and of messages, while many wait."""
    async with bench.store(kind) as store:
        now = NOW.isoformat(timespec="microseconds")

        def execute(db: Any, *statements: str) -> None:
            for statement in statements:
                db.execute(statement)

        await store._db.write(execute, _ADD_ACCOUNT.format(now=now))
        for first in range(1, waiting + 1, _FILLED_AT_ONCE):
            last = min(first + _FILLED_AT_ONCE - 1, waiting)
            statements = (statement.format(first=first, last=last, now=now) for statement in _FILL)
            await store._db.write(execute, *statements)
        # As the database does by itself after a while.
        await store._db.write(execute, "ANALYZE")

        async def claim_shard(number: int) -> None:
            assert await store.start_attempt(attempt_of(f"job-{number + 1}-0"))

        async def claim_messages(number: int) -> None:
            claim = Claim(f"sender-{number}", NOW + timedelta(days=1))
            assert len(await store.claim_messages(claim, NOW, CLAIMED_AT_ONCE)) == CLAIMED_AT_ONCE

        claims = min(claims, waiting // CLAIMED_AT_ONCE)
        shards = await rate_of(claim_shard, claims, CLAIMERS)
        return shards, CLAIMED_AT_ONCE * await rate_of(claim_messages, claims, CLAIMERS)


if __name__ == "__main__":
    main()

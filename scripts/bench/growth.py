"""Measures a SQLite store and a service with a million finished jobs.

    .venv/bin/python -m scripts.bench.growth [--jobs 1000000] [--few 10000] [--quick]

The same with few finished jobs, in the same run, is the reference. For each look into the store: CPU
milliseconds and steps of SQLite's virtual machine, which do not depend on the machine. For the expiry of
files: how long other writes wait meanwhile. For the service: seconds until it is ready, and its memory.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from orchestrator.execution.results.expiry import expire_in_batches
from orchestrator.jobs import JobStatus
from orchestrator.store import file_operations
from orchestrator.store.sql import job_search, jobs, repairs, usage, wallet
from orchestrator.store.sql.audit import audit_ledger
from orchestrator.store.sql.transaction import SqlTransaction
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.sqlite.database import SqliteDatabase
from orchestrator.store.values import JobFilter
from scripts.bench.grown_store import START_TIME, GrownStore, Look, measure, open_grown_store
from scripts.bench.idle import read_memory
from scripts.bench.report import save_results
from scripts.child_servers import run_bench_service

#: Files per transaction of the expiry.
BATCH_SIZE = 200
#: Files that are expired while other writes wait, and the pause between two of these.
EXPIRED_FILES, WRITE_PAUSE_SECONDS = 20_000, 0.005


def listed(cursor: int | None = None, **wanted: Any) -> Look:
    """Return a look at a page of the account's jobs; `cursor` is the share of jobs that are older."""

    def look(db: SqliteDatabase, grown: GrownStore) -> object:
        job_filter = JobFilter(account_id=grown.account.id, **wanted)
        before = None if cursor is None else f"job-{grown.jobs * cursor // 100}"
        return jobs.list_jobs(db, job_filter, 50, before)

    return look


def expired(db: SqliteDatabase, grown: GrownStore) -> list[str]:
    return file_operations.expire_files(SqlTransaction(db), grown.ended_at, BATCH_SIZE, grown.ended_at)


LOOKS: dict[str, Look] = {
    "jobs, first page": listed(),
    "jobs, page at a tenth": listed(cursor=10),
    "failed jobs": listed(status=JobStatus.FAILED),
    "cancelled jobs (none)": listed(status=JobStatus.CANCELLED),
    "queued jobs (none)": listed(status=JobStatus.QUEUED),
    "jobs by words (none)": listed(words=["zebra"]),
    "jobs of a model (none)": listed(models=["absent"]),
    "jobs of the first day": listed(created_before=START_TIME + timedelta(days=1)),
    "jobs of an instance (none)": lambda db, _: jobs.list_jobs(db, JobFilter(instance_id="gone"), 50, None),
    "failed attempts": lambda db, _: job_search.list_failed_attempts(db, 50, None),
    "balance": lambda db, grown: wallet.get_balance(db, grown.account.id),
    "ledger, first page": lambda db, grown: wallet.list_entries(db, grown.account.id, 50, None, False),
    "ledger, page at a tenth": lambda db, grown: wallet.list_entries(
        db, grown.account.id, 50, f"hold:job-{grown.jobs // 10}", False
    ),
    "statement of the first day": lambda db, grown: wallet.get_statement(
        db, grown.account.id, START_TIME, START_TIME + timedelta(days=1)
    ),
    "usage of all time": lambda db, grown: usage.list_usage(db, None, None, grown.account.id),
    "unfinished jobs, open holds": lambda db, _: repairs.list_suspects(db),
    "expiry of 200 files": expired,
    "audit of the books": lambda db, _: audit_ledger(db),
}


def measure_looks(grown: GrownStore) -> dict[str, dict[str, float]]:
    costs = {name: measure(grown, look) for name, look in LOOKS.items()}
    return {
        name: {"steps": cost.steps, "cpu_ms": round(cost.cpu_seconds * 1000, 2)}
        for name, cost in costs.items()
    }


async def measure_expiry(store: SqliteStore, grown: GrownStore) -> dict[str, float]:
    """Return how long small writes wait, without the expiry of files and while it runs."""
    quiet = await _longest_writes(store, grown, asyncio.sleep(2.0))
    busy = await _longest_writes(store, grown, _expire(store, grown))
    return {f"{name}_quiet_ms": ms for name, ms in quiet.items()} | {
        f"{name}_expiry_ms": ms for name, ms in busy.items()
    }


async def _expire(store: SqliteStore, grown: GrownStore) -> None:
    left = EXPIRED_FILES

    async def expire(limit: int) -> int:
        nonlocal left
        limit = min(limit, left)
        keys = await store.expire_files(grown.ended_at, limit, grown.ended_at) if limit else []
        left -= len(keys)
        return len(keys)

    await expire_in_batches(expire)


async def _longest_writes(store: SqliteStore, grown: GrownStore, work: Any) -> dict[str, float]:
    task, waits = asyncio.ensure_future(work), []
    while not task.done():
        begun = time.perf_counter()
        await store.credit(grown.account.id, 1, f"write {begun}", grown.ended_at)
        waits.append(time.perf_counter() - begun)
        await asyncio.sleep(WRITE_PAUSE_SECONDS)
    await task
    return {"median": round(statistics.median(waits) * 1000, 1), "longest": round(max(waits) * 1000, 1)}


def measure_restart(directory: Path) -> dict[str, float]:
    """Return how long the service needs until it is ready with this database, and its memory then."""
    begun = time.monotonic()
    with run_bench_service(directory, "--simulate", "1") as served:
        ready = time.monotonic() - begun
        process = psutil.Process(served.pid)
        cpu = process.cpu_times()
        time.sleep(3)
        return {
            "ready_s": round(ready, 2),
            "cpu_until_ready_s": round(cpu.user + cpu.system, 2),
            **read_memory(process),
        }


async def measure_store(directory: Path, count: int) -> dict[str, Any]:
    path = directory / "pixelfactory.db"
    begun = time.monotonic()
    store, grown = await open_grown_store(path, count)
    print(
        f"{count} jobs: {path.stat().st_size / 1e6:.0f} MB after {time.monotonic() - begun:.0f} s", flush=True
    )
    looks = await asyncio.to_thread(measure_looks, grown)
    expiry = await measure_expiry(store, grown)
    await store.close()
    return {"looks": looks, "expiry": expiry}


def print_rows(rows: Sequence[tuple[int, dict[str, Any]]]) -> None:
    for name in LOOKS:
        figures = [
            f"{found['looks'][name]['steps']:>10} steps {found['looks'][name]['cpu_ms']:>9.2f} ms"
            for _, found in rows
        ]
        print(f"{name:30} {'  |  '.join(figures)}")
    for count, found in rows:
        for part in ("expiry", "restart"):
            print(
                f"{part}, {count} jobs: "
                + "  ".join(f"{name} {value:g}" for name, value in found[part].items())
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=10_000, help="jobs of the reference (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="10 000 jobs beside 1 000, not saved")
    options = parser.parse_args()
    counts = (1_000, 10_000) if options.quick else (options.few, options.jobs)
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as made:
            directory = Path(made) / "service"
            directory.mkdir(mode=0o700)
            found = asyncio.run(measure_store(directory, count))
            found["restart"] = measure_restart(directory)
            rows.append((count, found))
    print_rows(rows)
    if not options.quick:
        save_results("growth", {"rows": {str(count): found for count, found in rows}})


if __name__ == "__main__":
    main()

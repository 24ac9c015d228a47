"""Measures what one job costs the service, for `scripts.bench.simulate_cluster`.

    .venv/bin/python -m scripts.bench.measure_cluster_inputs [--quick]

It runs the service with two simulated instances that take no simulated time, sends batches of requests that
differ in one respect (results per job, steps, size, webhook), and reads counters, CPU times of threads and
the tables of the store before and after each. It also measures the scheduler's decisions and the
transactions of the store alone. With six times as many runnable processes as cores, CPU times grew by a
third and `wall` times several times (compare `load` with `cores` in the result).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiohttp import web

from orchestrator.catalog import Catalog
from orchestrator.files.secret_box import SecretBox
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from orchestrator.store.postgres.store import PostgresStore
from orchestrator.store.sql.store import SqlStore
from orchestrator.store.sqlite import SqliteStore
from scripts.bench.cluster_simulation.decision_cost import measure_rows
from scripts.bench.cluster_simulation.workload import load_models
from scripts.bench.ledger import store_rate
from scripts.bench.report import save_results
from scripts.child_servers import create_api_key, run_service, run_simulator
from scripts.postgres_cluster import PostgresCluster, find_binaries
from tests.support.polling import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = "256x256"
WARM_UP_JOBS = 30
#: Times that every batch is run; the one with the least CPU time was disturbed the least.
ROUNDS = 3
STORE_ROUNDS = 2
#: Steps of the quantiles that are kept of a distribution.
QUANTILES = 20
SETTLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one kind: `jobs` of them, `concurrency` at a time."""

    name: str
    jobs: int
    concurrency: int
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return int(self.body.get("n", 1))


def batches(jobs: int, receiver: str) -> list[Batch]:
    """Return the batches: a reference, and others that differ from it in one respect."""
    return [
        Batch("alone", jobs // 2, 1),
        Batch("image", jobs, 8),
        Batch("four_images", jobs // 4, 4, {"n": 4}),
        Batch("steps", jobs // 2, 8, {"steps": 40}),
        Batch("large", jobs // 4, 4, {"size": "1024x1024"}),
        Batch("webhook", jobs // 2, 8, {"webhook_url": receiver}),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, nothing is saved")
    quick = parser.parse_args().quick
    models = load_models(Catalog.load(SHIPPED_WORKFLOWS_DIR))
    sizes = (8, 32, 128) if quick else (8, 32, 128, 512, 1024)
    result: dict[str, Any] = {
        "commit": find_commit(),
        "service": measure_service(jobs=8 if quick else 60),
        "decisions": measure_rows(models, sizes, (8,) if quick else (8, 20_000), 6 if quick else 15),
        "sqlite": measure_sqlite(jobs=50 if quick else 300),
        "postgres": measure_postgres(jobs=50 if quick else 300),
    }
    print(json.dumps(result, indent=1))
    if not quick:
        save_results("cluster_inputs", result)


def find_commit() -> str:
    """Return the commit that is measured; empty outside of a repository."""
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def measure_sqlite(jobs: int) -> dict[str, Any]:
    """Measure jobs per second from hold to capture, alone and 64 at a time."""
    with tempfile.TemporaryDirectory() as directory:
        numbers = count()
        return measure_stores(
            lambda: SqliteStore(Path(directory) / f"{next(numbers)}.db"), jobs, time.process_time
        )


def measure_postgres(jobs: int) -> dict[str, Any] | None:
    """Do the same on a temporary PostgreSQL that flushes to disk; None where PostgreSQL is not installed.

    `cpu_us_per_job` is the CPU time of the server's processes.
    """
    if find_binaries() is None:
        return None
    cluster = PostgresCluster("fsync=on", "full_page_writes=on", "autovacuum=on")
    try:
        cluster.start()
        numbers = count()

        def open_store() -> SqlStore:
            url = cluster.create_database(f"bench_{next(numbers)}")
            return PostgresStore(url, SecretBox(cluster.directory / "key"))

        return measure_stores(open_store, jobs, lambda: cpu_seconds_below(cluster.data))
    finally:
        cluster.remove()


def measure_stores(
    open_store: Callable[[], SqlStore], jobs: int, read_cpu: Callable[[], float]
) -> dict[str, Any]:
    """Measure a new store alone and 64 jobs at a time; a job is three transactions."""
    rows: dict[str, Any] = {"transactions_per_job": 3}
    for together in (1, 64):

        async def run(together: int = together) -> float:
            return await store_rate(open_store(), jobs, together)

        measured = []
        for _ in range(STORE_ROUNDS):
            cpu = read_cpu()
            rate = asyncio.run(run())
            measured.append((read_cpu() - cpu, rate))
        cpu, rate = min(measured)
        row = {"jobs_per_second": round(rate), "cpu_us_per_job": round(cpu / jobs * 1e6)}
        rows[f"{together} at once"] = row
    return rows


def cpu_seconds_below(data: Path) -> float:
    """Return the CPU seconds of a PostgreSQL server and its processes, those that have ended included."""
    pid = int((data / "postmaster.pid").read_text().split()[0])
    server = psutil.Process(pid).cpu_times()
    seconds = server.user + server.system + server.children_user + server.children_system
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found = child.cpu_times()
            seconds += found.user + found.system
    return float(seconds)


def measure_service(jobs: int) -> dict[str, Any]:
    """Run all batches against one service."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        data, report = Path(directory) / "service", Path(directory) / "report.json"
        instances = [stack.enter_context(run_simulator(Path(directory) / name)) for name in ("a", "b")]
        service = stack.enter_context(
            run_service(
                "--instances",
                ",".join(instance.url for instance in instances),
                log=data / "log",
                environment={
                    "PIXELFACTORY_DATA_DIR": str(data),
                    "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
                },
                program=(sys.executable, "-m", f"{__package__}.cluster_simulation.measured_up", str(report)),
            )
        )
        probe = Probe(service.pid, report, data / "pixelfactory.db")
        return asyncio.run(run_batches(service.url, create_api_key(data), probe, jobs))


async def run_batches(url: str, key: str, probe: Probe, jobs: int) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    app = web.Application()
    app.router.add_post("/hook", _accept_message)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    seeds = iter(range(1, 10**9))
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {key}"}) as http:
        await run_batch(http, Batch("warm-up", WARM_UP_JOBS, 4), seeds)
        for _ in range(ROUNDS):
            for batch in batches(jobs, receiver):
                row = await measure_batch(http, batch, probe, seeds)
                rows[batch.name] = min(rows.get(batch.name, row), row, key=event_loop_seconds)
    await runner.cleanup()
    return rows


def event_loop_seconds(row: Mapping[str, Any]) -> float:
    """Return the CPU seconds of the event loop per job."""
    return float(row["process"]["event loop"]["cpu"])


async def measure_batch(
    http: aiohttp.ClientSession, batch: Batch, probe: Probe, seeds: Iterator[int]
) -> dict[str, Any]:
    """Run a batch and return what was done per job."""
    before = await probe.read()
    await run_batch(http, batch, seeds)
    after = await probe.read()
    print(f"{batch.name}: {batch.jobs} jobs", file=sys.stderr)
    return {
        "jobs": batch.jobs,
        "n": batch.n,
        "body": {name: value for name, value in batch.body.items() if name != "webhook_url"},
        **difference(before, after, batch.jobs),
        **probe.read_times(batch.jobs),
    }


async def _accept_message(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=204)


async def run_batch(http: aiohttp.ClientSession, batch: Batch, seeds: Iterator[int]) -> None:
    numbers = iter(range(batch.jobs))

    async def work() -> None:
        for _ in numbers:
            body = {"model": "flux-1-schnell", "prompt": "a lighthouse at dusk", "size": SMALL, **batch.body}
            # Seeds of a job's results follow each other.
            body["seed"] = next(seeds) * 100
            async with http.post("/api/v1/images/generations", json=body) as response:
                text = await response.text()
                if response.status != 200:
                    raise RuntimeError(f"{batch.name}: status {response.status}: {text[:500]}")

    await asyncio.gather(*(work() for _ in range(batch.concurrency)))


@dataclass(frozen=True, slots=True)
class Probe:
    """Reads what a service has done so far."""

    pid: int
    report: Path
    database: Path

    async def read(self) -> dict[str, dict[str, float]]:
        """Wait until nothing is left to do and return all counts by name, as `kind/name`."""
        await self._wait_until_idle()
        threads = self._threads()
        self.report.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        await wait_until(self.report.exists, SETTLE_SECONDS)
        tallies: dict[str, dict[str, dict[str, float]]] = json.loads(self.report.read_text())
        counts = {f"{kind}/{name}": row for kind, rows in tallies.items() for name, row in rows.items()}
        return {**counts, **threads}

    async def _wait_until_idle(self) -> None:
        """Wait until all messages are delivered and the instances' files are removed."""
        waiting = "SELECT count(*) FROM outbox WHERE due_at IS NOT NULL"
        await wait_until(lambda: self._query(waiting)[0][0] == 0, SETTLE_SECONDS)
        await asyncio.sleep(1.0)

    def _threads(self) -> dict[str, dict[str, float]]:
        """Return the CPU seconds of the event loop's thread, of all threads, and of the S3 server."""
        children = psutil.Process(self.pid).children(recursive=True)
        return {
            "process/event loop": {"cpu": cpu_seconds(Path(f"/proc/{self.pid}/task/{self.pid}"))},
            "process/all threads": {"cpu": thread_seconds(self.pid)},
            "process/S3 server": {"cpu": sum(thread_seconds(child.pid) for child in children)},
        }

    def read_times(self, jobs: int) -> dict[str, Any]:
        """Return quantiles of the seconds that the latest jobs waited, ran, and took to finish."""
        rows = self._query(
            "SELECT jobs.created_at, attempts.started_at, attempts.ended_at, jobs.finished_at"
            " FROM attempts JOIN shards ON shards.id = shard_id JOIN jobs ON jobs.id = job_id"
            " WHERE jobs.seq > (SELECT max(seq) FROM jobs) - ?",
            jobs,
        )
        times = [tuple(datetime.fromisoformat(text).timestamp() for text in row) for row in rows]
        return {
            "wall_queue_wait": quantiles([started - created for created, started, _, _ in times]),
            "wall_attempt": quantiles([ended - started for _, started, ended, _ in times]),
        }

    def _query(self, query: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            return db.execute(query, values).fetchall()


def thread_seconds(pid: int) -> float:
    """Return the CPU seconds of the threads of a process."""
    return sum(cpu_seconds(task) for task in Path(f"/proc/{pid}/task").iterdir())


def cpu_seconds(task: Path) -> float:
    """Return the CPU seconds of one thread, which Linux counts in nanoseconds; 0 for one that has ended."""
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def quantiles(seconds: Sequence[float]) -> list[float]:
    """Return the minimum, the quantiles and the maximum in seconds: the inverse of the distribution."""
    inner = statistics.quantiles(seconds, n=QUANTILES, method="inclusive")
    return [round(value, 5) for value in (min(seconds), *inner, max(seconds))]


def difference(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]], jobs: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Return what was done between two readings, per job, as `{kind: {name: {...}}}`."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for path, row in after.items():
        kind, _, name = path.partition("/")
        earlier = before.get(path, {})
        amounts = {key: round((value - earlier.get(key, 0)) / jobs, 7) for key, value in row.items()}
        if any(amounts.values()):
            found.setdefault(kind, {})[name] = amounts
    return found


if __name__ == "__main__":
    main()

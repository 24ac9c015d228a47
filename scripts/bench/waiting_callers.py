"""Measures the service while thousands of callers wait for their jobs: readers of events, and open requests.

    .venv/bin/python -m scripts.bench.waiting_callers [--readers 5000] [--callers 5000] [--quick]

One simulated instance needs minutes for a job, so that all others wait. For each stage: CPU of the service
while nothing changes, and while ten jobs a second are taken out of the queue; its memory; and how long a
request for the balance takes. The reference is the same service before the first job. `ulimit -n` has to be
twice the connections and 1000 more.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from orchestrator.billing.api_keys import api_key_prefix, generate_api_key, hash_api_key
from orchestrator.store.sqlite import SqliteStore
from scripts.bench.report import save_results
from scripts.child_servers import run_service

IMAGE = {"model": "flux-1-schnell", "prompt": "a lighthouse", "size": "256x256", "response_format": "url"}
#: Connections that are opened at the same time, and requests that measure latency.
AT_ONCE, LOOKS = 50, 100
#: An account may have 100 streams.
CONNECTIONS_PER_ACCOUNT = 100
OBSERVED_SECONDS = 8.0


class Waiting:
    """The jobs, and the connections that wait for them."""

    def __init__(self, http: aiohttp.ClientSession, keys: Sequence[str], service: psutil.Process) -> None:
        self._http = http
        self._headers = [{"Authorization": f"Bearer {key}"} for key in keys]
        self._service = service
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []
        #: Ids of jobs, with the header of their account.
        self._jobs: list[tuple[str, Mapping[str, str]]] = []
        self.events = 0

    async def add_readers(self, count: int) -> None:
        """Submit jobs and read the events of each."""
        opened = asyncio.Semaphore(0)

        async def read(number: int) -> None:
            mine = self._headers[number % len(self._headers)]
            async with self._slots:
                headers = {"Prefer": "respond-async", **mine}
                async with self._http.post("/v1/images/generations", json=IMAGE, headers=headers) as response:
                    body = await response.json()
                    if response.status != 202:
                        raise RuntimeError(f"{response.status}: {body}")
                self._jobs.append((body["jobId"], mine))
                stream = await self._http.get(f"/api/v1/jobs/{body['jobId']}/events", headers=mine)
                stream.raise_for_status()
                await stream.content.readline()
                opened.release()
            async with stream:  # which closes it when the reader leaves
                async for line in stream.content:
                    self.events += line.startswith(b"event:")

        await self._start(read, count, opened)

    async def add_callers(self, count: int) -> None:
        """Open requests that are answered when their image is there."""
        opened = asyncio.Semaphore(0)

        async def call(number: int) -> None:
            opened.release()
            mine = self._headers[number % len(self._headers)]
            async with self._http.post("/v1/images/generations", json=IMAGE, headers=mine) as response:
                await response.read()
                response.raise_for_status()

        await self._start(call, count, opened)
        await self._wait_until_quiet()

    async def _start(self, run: Any, count: int, opened: asyncio.Semaphore) -> None:
        tasks = [asyncio.create_task(run(number)) for number in range(count)]
        self._tasks += tasks
        for _ in range(count):
            acquired = asyncio.create_task(opened.acquire())
            done, _pending = await asyncio.wait(
                [acquired, *self._failed(tasks)], return_when=asyncio.FIRST_COMPLETED
            )
            if acquired not in done:
                done.pop().result()

    @staticmethod
    def _failed(tasks: Sequence[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
        return [task for task in tasks if task.done() and task.exception()]

    async def _wait_until_quiet(self) -> None:
        while self._share(await self._spent(1.0)) > 0.5:
            pass

    async def _spent(self, seconds: float) -> tuple[float, float]:
        begun, before = time.monotonic(), cpu_seconds(self._service)
        await asyncio.sleep(seconds)
        return time.monotonic() - begun, cpu_seconds(self._service) - before

    @staticmethod
    def _share(spent: tuple[float, float]) -> float:
        return spent[1] / spent[0]

    async def observe(self) -> dict[str, float]:
        """Return what the present connections cost."""
        quiet = self._share(await self._spent(OBSERVED_SECONDS))
        events = self.events
        moving = asyncio.create_task(self._cancel_first_jobs())
        moved = self._share(await self._spent(OBSERVED_SECONDS))
        seconds = []
        for _ in range(LOOKS):
            begun = time.perf_counter()
            async with self._http.get("/api/v1/billing/balance", headers=self._headers[0]) as response:
                response.raise_for_status()
                await response.read()
            seconds.append(time.perf_counter() - begun)
        moving.cancel()
        return {
            "cpu_share_quiet": round(quiet, 3),
            "cpu_share_moving": round(moved, 3),
            "events_per_second": round((self.events - events) / OBSERVED_SECONDS, 1),
            "rss_mb": round(self._service.memory_info().rss / 1e6, 1),
            "balance_ms": round(statistics.median(seconds) * 1000, 1),
        }

    async def _cancel_first_jobs(self) -> None:
        """Let the queue move, as it does when jobs end."""
        while self._jobs:
            job_id, mine = self._jobs.pop(0)
            async with self._http.delete(f"/api/v1/jobs/{job_id}", headers=mine):
                await asyncio.sleep(0.1)

    async def leave(self) -> None:
        """Close all connections."""
        for task in self._tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)


async def add_accounts(directory: Path, count: int) -> list[str]:
    """Add accounts with credit to the database of the running service; return a key of each."""
    store = SqliteStore(directory / "pixelfactory.db")
    now, keys = datetime.now(UTC), [generate_api_key() for _ in range(count)]
    for key in keys:
        account = await store.add_account("bench", "standard", now)
        await store.credit(account.id, 10**9, "bench", now)
        await store.add_key(account.id, hash_api_key(key), api_key_prefix(key), "bench", now)
    await store.close()
    return keys


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    connections = options.readers + options.callers
    environment = {
        "PIXELFACTORY_DATA_DIR": str(directory),
        "PIXELFACTORY_SIMULATOR_TIME_SCALE": "300",
        "PIXELFACTORY_MAX_WAIT_SECONDS": "1000000000",
        "PIXELFACTORY_MAX_CONNECTIONS": str(connections + 500),
        "PIXELFACTORY_MAX_CONNECTIONS_PER_ADDRESS": str(connections + 500),
        "PIXELFACTORY_LOG_LEVEL": "WARNING",
        # No request meets a connection that the service is about to close.
        "PIXELFACTORY_KEEPALIVE_SECONDS": "3600",
    }
    async with AsyncExitStack() as stack:
        service = run_service("--simulate", "1", log=directory / "log", environment=environment)
        served = stack.enter_context(service)
        keys = await add_accounts(directory, 1 + connections // CONNECTIONS_PER_ACCOUNT)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(
                served.url,
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        )
        waiting = Waiting(http, keys, psutil.Process(served.pid))
        rows = {"nothing": await waiting.observe()}
        await waiting.add_readers(options.readers)
        rows[f"{options.readers} readers"] = await waiting.observe()
        await waiting.add_callers(options.callers)
        rows[f"{options.readers} readers, {options.callers} callers"] = await waiting.observe()
        await waiting.leave()
        await asyncio.sleep(OBSERVED_SECONDS)
        rows["after they have left"] = await waiting.observe()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--readers", type=int, default=5000)
    parser.add_argument("--callers", type=int, default=5000)
    parser.add_argument("--quick", action="store_true", help="100 of each, not saved")
    options = parser.parse_args()
    if options.quick:
        options.readers = options.callers = 100
    files = 2 * (options.readers + options.callers + 500)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < files:
        parser.error(f"needs {files} open files; the limit is {hard} (`ulimit -Hn`)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as directory:
        rows = asyncio.run(measure(options, Path(directory)))
    for name, row in rows.items():
        print(f"{name:32} " + "  ".join(f"{key} {value:g}" for key, value in row.items()))
    if not options.quick:
        save_results("waiting_callers", {"rows": rows})


if __name__ == "__main__":
    main()

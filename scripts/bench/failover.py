"""Measures how long callers wait when the leading scheduler is killed or stands still, and what roles weigh.

    .venv/bin/python -m scripts.bench.failover [--kills 10] [--stops 3] [--before DIR] [--quick]

Two API processes, two schedulers, PostgreSQL, S3 and two adopted simulators; eight callers use both API
processes. A time begins with the signal. `--before` is a tree of an earlier version, whose `pixelfactory up`
on SQLite is compared with this one.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import psycopg

from orchestrator.storage.embedded_server import EmbeddedS3
from scripts.bench.idle import read_memory
from scripts.bench.program import ROOT, Program, seconds_until
from scripts.bench.report import save_results
from scripts.child_servers import PIXELFACTORY_COMMAND
from scripts.postgres_cluster import PostgresCluster

CALLERS = 8
SIMULATORS = 2
#: Exit status of a leader that another one has succeeded.
SUCCEEDED = 75
IMAGE = {"model": "sdxl-1.0", "prompt": "a red fox", "width": 512, "height": 512, "response_format": "url"}
#: A shard that began, or one that a new leader went on with and ended, after a time.
WORKED = """SELECT count(*) FROM attempts
    WHERE started_at > %(at)s OR ended_at > %(at)s"""


class Cluster:
    """The processes of an installation, and callers that use it."""

    def __init__(self, directory: Path, postgres: PostgresCluster, s3: EmbeddedS3) -> None:
        self._directory, self._postgres = directory, postgres
        access = s3.bucket_config("failover")
        self._admin_token = secrets.token_urlsafe(32)
        self._environment = {
            "PIXELFACTORY_DATABASE_URL": postgres.url(),
            "PIXELFACTORY_S3_ENDPOINT": access.endpoint,
            "PIXELFACTORY_S3_ACCESS_KEY": access.access_key,
            "PIXELFACTORY_S3_SECRET_KEY": access.secret_key,
            "PIXELFACTORY_S3_BUCKET": access.bucket,
            "PIXELFACTORY_ADMIN_TOKEN": self._admin_token,
            "PIXELFACTORY_SESSION_SECRET": secrets.token_urlsafe(32),
            "PIXELFACTORY_DATABASE_KEY": secrets.token_urlsafe(32),
        }
        simulate = [sys.executable, "-m", "comfy_instances.simulator", "--time-scale", "0.05"]
        self.simulators = [
            Program(
                f"simulator-{number}",
                [*simulate, "--base-directory", str(directory / f"simulator-{number}")],
                "/system_stats",
                directory,
            )
            for number in range(SIMULATORS)
        ]
        urls = ",".join(one.url for one in self.simulators)
        self.schedulers = [self._role("scheduler", n, "--instances", urls) for n in range(2)]
        self.apis = [self._role("api", n) for n in range(2)]
        #: Times at which callers got results.
        self.results: list[float] = []
        self.refused = 0

    def _role(self, role: str, number: int, *options: str) -> Program:
        name = f"{role}-{number}"
        command = [str(PIXELFACTORY_COMMAND), role, "--data-dir", str(self._directory / name), *options]
        return Program(name, command, "/readyz", self._directory, self._environment)

    @property
    def programs(self) -> list[Program]:
        return [*self.apis, *self.schedulers, *self.simulators]

    async def start(self) -> None:
        for program in (*self.simulators, *self.schedulers, *self.apis):
            await program.start()

    async def create_key(self) -> str:
        headers = {"Authorization": f"Bearer {self._admin_token}"}
        async with (
            aiohttp.ClientSession(self.apis[0].url, headers=headers) as http,
            http.post("/admin/v1/keys", json={"credit_usd": "5000"}) as response,
        ):
            return str((await response.json())["key"])

    async def call(self, number: int, key: str) -> None:
        """Make images one after the other, as a caller that tries again."""
        headers = {"Authorization": f"Bearer {key}"}
        api = self.apis[number % len(self.apis)]
        async with aiohttp.ClientSession(api.url, headers=headers) as http:
            while True:
                with suppress(aiohttp.ClientError):
                    async with http.post("/api/v1/images/generations", json=IMAGE) as response:
                        if response.status == 200:
                            self.results.append(time.monotonic())
                            continue
                        self.refused += 1
                await asyncio.sleep(0.25)

    async def measure(self, number: signal.Signals) -> dict[str, float]:
        """Send the leader a signal; return the seconds until another leads, works, and serves a caller."""
        leader = self._leader()
        at, begun = time.time(), time.monotonic()
        leader.send(number)
        times = {"leads": await seconds_until(begun, lambda: self._leader() is not leader)}
        led_at = time.monotonic()
        times["works"] = await seconds_until(begun, lambda: self._has_worked_since(at))
        times["result"] = await seconds_until(begun, lambda: bool(self.results) and self.results[-1] > led_at)
        if number is signal.SIGSTOP:
            leader.send(signal.SIGCONT)
        status = await leader.end()
        if number is signal.SIGSTOP and status != SUCCEEDED:
            raise RuntimeError(f"the earlier leader ended with {status}, not {SUCCEEDED}")
        await leader.start()
        return times

    def _leader(self) -> Program:
        url = self._value("SELECT url FROM scheduler_leader")
        return next(one for one in self.schedulers if one.url == url)

    def _has_worked_since(self, at: float) -> bool:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1e6):06d}+00:00"
        return bool(self._value(WORKED, {"at": text}))

    def _value(self, query: str, values: dict[str, Any] | None = None) -> Any:
        with psycopg.connect(self._postgres.url(), autocommit=True) as connection:
            row = connection.execute(query.encode(), values).fetchone()
        return row[0] if row else None

    def memory(self) -> dict[str, dict[str, float]]:
        """Return the memory of the API processes and of both schedulers, by what they do now."""
        leader = self._leader()
        found = {}
        for program in (*self.apis, *self.schedulers):
            assert program.process is not None
            suffix = "" if program in self.apis else " (leads)" if program is leader else " (stands by)"
            found[program.name + suffix] = read_memory(psutil.Process(program.process.pid))
        return found

    async def stop(self) -> None:
        for program in self.programs:
            if program.process is not None and program.process.poll() is None:
                program.send(signal.SIGCONT)
                await program.end(signal.SIGTERM)


async def measure_failover(directory: Path, kills: int, stops: int) -> dict[str, Any]:
    """Run the installation under load and return what was measured."""
    postgres = PostgresCluster("fsync=on", "full_page_writes=on")
    s3 = EmbeddedS3(directory / "s3")
    await s3.start()
    cluster = None
    try:
        await asyncio.to_thread(postgres.start)
        cluster = Cluster(directory, postgres, s3)
        await cluster.start()
        key = await cluster.create_key()
        callers = [asyncio.create_task(cluster.call(number, key)) for number in range(CALLERS)]
        await seconds_until(time.monotonic(), lambda: len(cluster.results) >= CALLERS)
        memory = cluster.memory()
        found: dict[str, list[dict[str, float]]] = {"kill": [], "stop": []}
        for number, name, times in ((signal.SIGKILL, "kill", kills), (signal.SIGSTOP, "stop", stops)):
            for _ in range(times):
                found[name].append(await cluster.measure(number))
                print(name, found[name][-1], flush=True)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        return {
            **{name: {"each": each, **summarize(each)} for name, each in found.items()},
            "memory_mb": memory,
            "results": len(cluster.results),
            "refused": cluster.refused,
        }
    finally:
        if cluster is not None:
            await cluster.stop()
        await s3.stop()
        postgres.remove()


def summarize(each: list[dict[str, float]]) -> dict[str, Any]:
    """Return median and maximum of each time, in seconds."""
    names = ("leads", "works", "result") if each else ()
    return {
        name: {
            "median_s": statistics.median(one[name] for one in each),
            "max_s": max(one[name] for one in each),
        }
        for name in names
    }


async def measure_up(directory: Path, before: Path, rounds: int) -> dict[str, Any]:
    """Return start time and memory of `pixelfactory up` on SQLite, before and now, in turn."""
    found: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
    for number in range(rounds):
        for name, tree in (("before", before), ("now", ROOT)):
            data = directory / f"up-{name}-{number}"
            code = "from orchestrator.cli import main; main()"
            command = [sys.executable, "-c", code, "up", "--simulate", "1", "--data-dir", str(data)]
            environment = {"PYTHONPATH": str(tree), "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0"}
            up = Program(f"up-{name}-{number}", command, "/readyz", directory, environment, cwd=tree)
            seconds = await up.start()
            assert up.process is not None
            process = psutil.Process(up.process.pid)
            found[name].append({"start_s": round(seconds, 2), **read_memory(process)})
            libraries = [
                one.path for one in process.memory_maps() if "psycopg" in one.path or "/ray/" in one.path
            ]
            assert not libraries, libraries
            await up.end(signal.SIGTERM)
    medians = {
        name: {what: statistics.median(one[what] for one in each) for what in each[0]}
        for name, each in found.items()
    }
    ratios = {what: round(medians["now"][what] / medians["before"][what], 3) for what in medians["now"]}
    return {**medians, "ratio": ratios, "each": found}


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--stops", type=int, default=3)
    parser.add_argument("--before", type=Path, help="tree of an earlier version")
    parser.add_argument("--rounds", type=int, default=3, help="starts of `up` of each version")
    parser.add_argument("--quick", action="store_true", help="one kill, one stop; nothing is saved")
    options = parser.parse_args()
    kills, stops = (1, 1) if options.quick else (options.kills, options.stops)
    with tempfile.TemporaryDirectory() as directory:
        result = await measure_failover(Path(directory), kills, stops)
        if options.before is not None:
            result["up"] = await measure_up(Path(directory), options.before.resolve(), options.rounds)
    print({name: value for name, value in result.items() if name not in ("kill", "stop")})
    if not options.quick:
        save_results("failover", result)


if __name__ == "__main__":
    asyncio.run(main())

"""Measures how many images per second the service passes on when instances cost nothing.

    .venv/bin/python -m scripts.bench.throughput [--quick] [--old-way] [--seconds 8]

32 null instances (`null_instances.py`) answer every prompt at once with a picture of 64 kB or 1.5 MB. 1, 16
and 128 callers ask for an image each, and for the next one when they have it, as base64 or as a URL. For each
combination: images per second, percentiles of their latency, and CPU milliseconds per image of every process,
and of every thread of the service. In the same run, as references: a bare websocket client at the null
instances, and a floor, which does per image what cannot be left out: two transactions that are flushed to
disk, and one PUT to the same S3 server.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psutil
from minio import Minio
from PIL import Image
from yarl import URL

from orchestrator.catalog import Catalog
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from scripts.bench.report import save_results
from scripts.child_servers import create_api_key, run_service, run_simulator

INSTANCES = 32
CALLERS = (1, 16, 128)
#: Side of a square picture of noise, by what its file has: PNG cannot compress noise.
PICTURES = {"64 kB": 146, "1.5 MB": 707}
MODEL = "flux-1-schnell"
WARM_UP_SECONDS = 2.0
BUCKET = "bench-floor"
Make = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU seconds of processes, and of the threads of the service, at one time."""

    processes: Mapping[str, float]
    threads: Mapping[str, float]


@dataclass(slots=True)
class Measured:
    """The seconds of each image, and what their making cost."""

    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    before: Sample | None = None
    after: Sample | None = None

    def row(self) -> dict[str, Any]:
        """Return the figures of the table."""
        ordered = sorted(self.seconds)
        count = len(ordered)

        def percentile(share: float) -> float:
            return round(ordered[min(count - 1, int(share * count))] * 1000, 1)

        found: dict[str, Any] = {
            "images": count,
            "per_second": round(count / self.elapsed, 1),
            "p50_ms": percentile(0.5),
            "p95_ms": percentile(0.95),
            "p99_ms": percentile(0.99),
        }
        if self.before and self.after:
            found["cpu_ms"] = _per_image(self.before.processes, self.after.processes, count)
            found["service_threads_cpu_ms"] = _per_image(self.before.threads, self.after.threads, count)
        return found


def _per_image(before: Mapping[str, float], after: Mapping[str, float], count: int) -> dict[str, float]:
    spent = {name: (after[name] - before.get(name, 0.0)) * 1000 / count for name in after}
    return {
        name: round(ms, 2) for name, ms in sorted(spent.items(), key=lambda item: -item[1]) if ms >= 0.005
    }


def sample(service: int, null: int) -> Sample:
    """Return the CPU seconds so far of the service, its S3 server, the null instances and this process."""
    process = psutil.Process(service)
    processes = {
        "service": _cpu_seconds(process),
        "S3": sum(_cpu_seconds(child) for child in process.children(recursive=True)),
        "instances": _cpu_seconds(psutil.Process(null)),
        "callers": _cpu_seconds(psutil.Process()),
    }
    threads: defaultdict[str, float] = defaultdict(float)
    for thread in process.threads():
        name = Path(f"/proc/{service}/task/{thread.id}/comm").read_text().strip()
        threads["loop" if thread.id == service else name] += thread.user_time + thread.system_time
    return Sample(processes, threads)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def drive(
    make: Make, callers: int, seconds: float, take_sample: Callable[[], Sample] | None
) -> Measured:
    """Have callers make images one after the other; nothing is counted in a time before."""
    found = Measured()
    started = time.monotonic() + min(WARM_UP_SECONDS, seconds)
    ends = started + seconds

    async def call(number: int) -> None:
        while (begun := time.monotonic()) < ends:
            await make(number)
            if begun >= started:
                found.seconds.append(time.monotonic() - begun)

    async def take_first() -> None:
        await asyncio.sleep(started - time.monotonic())
        found.before = take_sample() if take_sample else None

    await asyncio.gather(take_first(), *(call(number) for number in range(callers)))
    found.after = take_sample() if take_sample else None
    found.elapsed = time.monotonic() - started
    return found


@asynccontextmanager
async def service_caller(url: str, key: str, response_format: str) -> AsyncIterator[Make]:
    """Make images through the service; a URL is not opened."""
    seeds = iter(random.Random().sample(range(2**40), 200_000))
    body = {"model": MODEL, "prompt": "a lighthouse at dusk", "size": "256x256", "quality": "auto"}
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(url, connector=connector, headers=headers) as http:

        async def make(_: int) -> None:
            asked = {**body, "seed": next(seeds), "response_format": response_format}
            async with http.post("/v1/images/generations", json=asked) as response:
                data = await response.read()
                if response.status != 200:
                    raise RuntimeError(f"{response.status}: {data[:300]!r}")

        yield make


@asynccontextmanager
async def bare_caller(urls: list[str], callers: int) -> AsyncIterator[Make]:
    """Make images as a program does that talks to the instances itself; each caller has a socket."""
    graph = Catalog.load(SHIPPED_WORKFLOWS_DIR)[MODEL]
    rendered = graph.render_graph(
        graph.example_params(width=256, height=256, seed=1), filename_prefix="bench"
    )
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        clients = [(urls[number % len(urls)], uuid4().hex) for number in range(callers)]
        sockets = [
            await http.ws_connect(f"{url}/ws?clientId={name}", max_msg_size=0) for url, name in clients
        ]

        async def make(number: int) -> None:
            url, name = clients[number]
            body = {"prompt": rendered, "client_id": name, "prompt_id": str(uuid4())}
            async with http.post(f"{url}/prompt", json=body) as response:
                await response.read()
            images: list[dict[str, str]] = []
            async for message in sockets[number]:
                event = json.loads(message.data)
                if event["type"] == "executed":
                    images += event["data"]["output"].get("images", [])
                if event["type"] == "execution_success":
                    break
            for image in images:
                async with http.get(f"{url}/view", params=image) as response:
                    base64.b64encode(await response.read())

        yield make
        for socket in sockets:
            await socket.close()


@asynccontextmanager
async def floor_caller(directory: Path, s3: Mapping[str, str], picture: bytes) -> AsyncIterator[Make]:
    """Do what cannot be left out: two flushed transactions, each shared with what waits, and one PUT."""
    url = URL(s3["endpoint"])
    storage = Minio(f"{url.host}:{url.port}", s3["access_key"], s3["secret_key"], secure=False)
    if not storage.bucket_exists(BUCKET):
        storage.make_bucket(BUCKET)
    database = sqlite3.connect(directory / "floor.db", check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, body TEXT)")
    waiting: asyncio.Queue[tuple[str, asyncio.Future[None]]] = asyncio.Queue()

    def write(names: list[str]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO rows VALUES (?, ?)", [(name, "x" * 300) for name in names])
        database.execute("COMMIT")

    async def run_writer() -> None:
        while True:
            batch = [await waiting.get()]
            while not waiting.empty():
                batch.append(waiting.get_nowait())
            await asyncio.to_thread(write, [name for name, _ in batch])
            for _, done in batch:
                done.set_result(None)

    async def commit() -> None:
        done = asyncio.get_running_loop().create_future()
        await waiting.put((uuid4().hex, done))
        await done

    writer = asyncio.create_task(run_writer())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def make(_: int) -> None:
            await commit()
            target = storage.presigned_put_object(BUCKET, f"{uuid4().hex}.png", timedelta(minutes=5))
            async with http.put(URL(target, encoded=True), data=picture) as response:
                response.raise_for_status()
            await commit()

        yield make
    writer.cancel()
    database.close()


def make_picture(path: Path, side: int) -> bytes:
    """Write a PNG of noise and return it."""
    image = Image.frombytes("RGB", (side, side), random.Random(side).randbytes(side * side * 3))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


@contextmanager
def run_null_instances(facts_from: str, picture: Path, *, old_way: bool) -> Iterator[tuple[int, list[str]]]:
    """Run the null instances; yields the id of their process, and their URLs."""
    command = [sys.executable, "-m", "scripts.bench.null_instances", "--facts-from", facts_from]
    command += ["--count", str(INSTANCES), "--picture", str(picture)]
    command += ["--old-way"] if old_way else []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ports = process.stdout.readline().split()
        if len(ports) != INSTANCES:
            raise RuntimeError("the null instances did not start")
        try:
            yield process.pid, [f"http://127.0.0.1:{int(port)}" for port in ports]
        finally:
            process.terminate()


def find_s3(data: Path) -> dict[str, str]:
    """Return endpoint and credentials of the S3 server that the service has started."""
    ports = json.loads((data / "s3" / "ports.json").read_text())
    (identity, *_) = json.loads((data / "s3" / "identities.json").read_text())["identities"]
    (credentials, *_) = identity["credentials"]
    return {
        "endpoint": f"http://127.0.0.1:{ports['s3']}",
        "access_key": credentials["accessKey"],
        "secret_key": credentials["secretKey"],
    }


async def measure(options: argparse.Namespace, kind: str, side: int, directory: Path) -> dict[str, Any]:
    """Return the rows of one size of pictures."""
    picture_file = directory / f"picture-{side}.png"
    picture = make_picture(picture_file, side)
    rows: dict[str, Any] = {}
    with ExitStack() as stack:
        simulator = stack.enter_context(run_simulator(directory / f"simulator-{side}"))
        nulls = run_null_instances(simulator.url, picture_file, old_way=options.old_way)
        null_pid, urls = stack.enter_context(nulls)
        data = directory / f"service-{side}"
        environment = {
            "PIXELFACTORY_DATA_DIR": str(data),
            "PIXELFACTORY_LOG_LEVEL": "WARNING",
            "PIXELFACTORY_MODELS_DIR": str(directory / "weights"),
        }
        service = stack.enter_context(
            run_service("--instances", ",".join(urls), log=data / "log", environment=environment)
        )
        key = create_api_key(data)
        s3 = find_s3(data)
        for callers in options.callers:
            ways: dict[str, Any] = {
                "service, b64_json": service_caller(service.url, key, "b64_json"),
                "service, url": service_caller(service.url, key, "url"),
                "bare client": bare_caller(urls, callers),
                "floor": floor_caller(directory, s3, picture),
            }
            for name, way in ways.items():
                async with way as make:
                    cost = (lambda: sample(service.pid, null_pid)) if name.startswith("service") else None
                    row = (await drive(make, callers, options.seconds, cost)).row()
                rows[f"{kind}, {callers} callers, {name}"] = row
                print_row(f"{kind:>7} {callers:>4} callers  {name:18}", row)
    return rows


def print_row(title: str, row: Mapping[str, Any]) -> None:
    cpu = "  ".join(f"{name} {ms:g}" for name, ms in row.get("cpu_ms", {}).items())
    print(
        f"{title} {row['per_second']:7.1f}/s  p50 {row['p50_ms']:7.1f}  p95 {row['p95_ms']:7.1f}"
        f"  p99 {row['p99_ms']:7.1f} ms  {'CPU ms per image: ' + cpu if cpu else ''}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="2 seconds of each, small pictures, not saved")
    parser.add_argument("--old-way", action="store_true", help="instances without the node pack")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each combination (%(default)s)")
    parser.add_argument("--callers", type=int, nargs="+", default=CALLERS)
    options = parser.parse_args()
    pictures = dict(PICTURES)
    if options.quick:
        options.seconds, pictures = 2.0, {"64 kB": PICTURES["64 kB"]}
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        for kind, side in pictures.items():
            rows |= asyncio.run(measure(options, kind, side, Path(directory)))
    if not options.quick:
        name = "throughput_old_way" if options.old_way else "throughput"
        save_results(name, {"instances": INSTANCES, "cores": os.cpu_count(), "rows": rows})


if __name__ == "__main__":
    main()

"""Measures how long a caller's image takes while other clients misuse the service.

    .venv/bin/python -m scripts.bench.abuse [--quick]

At the same time there are 1 000 connections that never finish the header of a request, 64 uploads of a
kilobyte a second, one body of 97 MB after the other, and webhooks to a receiver that never answers. They come
from a process of their own, partly with the API key of another account. The simulated instances take no time.
The reference is the same request in the same run while nothing else happens; the aim is at most twice its
median. The exit status is 1 if the aim is missed (not with --quick, which only checks that it works).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from orchestrator.web.server import raise_descriptor_limit
from scripts.bench.report import latency_percentiles, save_results
from scripts.child_servers import create_api_key, run_service

MODEL = "flux-1-schnell"
IMAGE_SIZE = 256
PATH = "/api/v1/images/generations"
#: Usual soft limit on open files; the service must raise it by itself.
USUAL_OPEN_FILES = 1024
LARGE_BODY_BYTES = 97_000_000
#: Largest ratio of the medians with and without misuse.
MAX_RATIO = 2.0
#: Pause after a refused or closed connection before the next one, in seconds.
RECONNECT_SECONDS = 0.5
#: Time in which the misuse must be fully there, in seconds.
START_SECONDS = 60.0
OPEN_FILES = 8192


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything there is."""

    half_open: int
    slow_uploads: int
    large_body_bytes: int
    hanging_webhooks: int
    #: Images that are measured in each phase.
    images: int
    warm_up: int


FULL = Scale(
    half_open=1000,
    slow_uploads=64,
    large_body_bytes=LARGE_BODY_BYTES,
    hanging_webhooks=20,
    images=100,
    warm_up=20,
)
QUICK = Scale(
    half_open=100, slow_uploads=8, large_body_bytes=10_000_000, hanging_webhooks=2, images=10, warm_up=2
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the misuse, and ten images")
    parser.add_argument("--misuse", nargs=2, metavar=("URL", "KEY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    if options.misuse:
        raise_descriptor_limit(OPEN_FILES)
        url, key = options.misuse
        asyncio.run(misuse(url, key, scale))
        return
    result = measure(scale, quick=options.quick)
    print_result(result)
    if not options.quick:
        save_results("abuse", result)
        sys.exit(result["ratio"] > MAX_RATIO)


def measure(scale: Scale, *, quick: bool) -> dict[str, Any]:
    """Return the times of images before, during and after the misuse."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "service"
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(USUAL_OPEN_FILES, hard), hard))
        environment = {
            "PIXELFACTORY_DATA_DIR": str(data),
            "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0",
            "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
        }
        with run_service("--simulate", "2", log=data / "log", environment=environment) as service:
            caller, other = create_api_key(data), create_api_key(data)
            before = asyncio.run(time_images(service.url, caller, scale))
            with run_misuse(service.url, other, quick=quick):
                during = asyncio.run(time_images(service.url, caller, scale))
            after = asyncio.run(time_images(service.url, caller, scale))
        log_bytes = (data / "log").stat().st_size
    quiet = [*before, *after]
    return {
        "images": scale.images,
        "quiet": latency_percentiles(quiet),
        "misused": latency_percentiles(during),
        "ratio": round(statistics.median(during) / statistics.median(quiet), 2),
        "log_kb": round(log_bytes / 1e3),
    }


async def time_images(url: str, key: str, scale: Scale) -> list[float]:
    """Return the seconds that each image took, one after the other, each on a connection of its own."""
    seeds = itertools.count(time.time_ns() // 1000)
    taken = []
    connector = aiohttp.TCPConnector(force_close=True)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(url, headers=headers, connector=connector) as http:
        for number in range(scale.warm_up + scale.images):
            begun = time.perf_counter()
            async with http.post(PATH, json=image_request(next(seeds))) as response:
                response.raise_for_status()
                await response.read()
            if number >= scale.warm_up:
                taken.append(time.perf_counter() - begun)
    return taken


def image_request(seed: int, **fields: str) -> dict[str, Any]:
    return {
        "model": MODEL,
        "prompt": "a lighthouse at dusk",
        "size": f"{IMAGE_SIZE}x{IMAGE_SIZE}",
        "seed": seed % 2**48,
        "response_format": "url",
        **fields,
    }


def print_result(result: dict[str, Any]) -> None:
    for phase in ("quiet", "misused"):
        times = "  ".join(
            f"{name.removesuffix('_ms'):>6} {value:6.1f} ms" for name, value in result[phase].items()
        )
        print(f"{phase:8} {times}")
    print(f"ratio of medians {result['ratio']:.2f} (at most {MAX_RATIO:g}), log {result['log_kb']} kB")


@contextmanager
def run_misuse(url: str, key: str, *, quick: bool) -> Iterator[None]:
    """Run `misuse` in a process of its own, from the moment at which all of it is there."""
    command = [sys.executable, "-m", "scripts.bench.abuse", "--misuse", url, key]
    with subprocess.Popen(command + ["--quick"] * quick, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            if ready.strip() != "ready":
                sys.exit("the misuse could not be started")
            yield
            if process.poll() is not None:
                sys.exit("the misuse ended too early")
        finally:
            process.kill()


async def misuse(url: str, key: str, scale: Scale) -> None:
    """Misuse the service until this process is killed; print `ready` once everything has begun."""
    misuser = Misuser(url, key)
    receiver = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = receiver.sockets[0].getsockname()[1]
    async with receiver, asyncio.TaskGroup() as tasks:
        await misuser.submit_hanging_webhooks(scale.hanging_webhooks, f"http://127.0.0.1:{port}/")
        for _ in range(scale.half_open):
            tasks.create_task(repeat(misuser.open_halfway))
        for _ in range(scale.slow_uploads):
            tasks.create_task(repeat(misuser.upload_slowly))
        tasks.create_task(repeat(lambda: misuser.send_large_body(scale.large_body_bytes)))
        async with asyncio.timeout(START_SECONDS):
            await misuser.wait_until_begun(scale.half_open + scale.slow_uploads + 1)
        print("ready", flush=True)


async def repeat(act: Callable[[], Awaitable[None]]) -> None:
    """Do the same again and again, whatever the service does about it."""
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            await act()
        await asyncio.sleep(RECONNECT_SECONDS)


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Receive and never answer."""
    while await reader.read(65536):
        pass


class Misuser:
    """A client with an API key and bad intentions."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        #: One for each connection that has sent something.
        self._begun = asyncio.Semaphore(0)

    async def wait_until_begun(self, count: int) -> None:
        """Wait until `count` connections have sent something."""
        for _ in range(count):
            await self._begun.acquire()

    async def submit_hanging_webhooks(self, count: int, webhook_url: str) -> None:
        headers = {"Authorization": f"Bearer {self._key}", "Prefer": "respond-async"}
        async with aiohttp.ClientSession(self._url, headers=headers) as http:
            for number in range(count):
                async with http.post(PATH, json=image_request(number, webhook_url=webhook_url)) as response:
                    response.raise_for_status()

    async def open_halfway(self) -> None:
        """Send the beginning of a header and wait."""
        await self._send(b"GET / HTTP/1.1\r\nHost: service\r\nX-Slow:")

    async def upload_slowly(self) -> None:
        """Send a body of 10 MB at a kilobyte a second."""

        async def trickle(writer: asyncio.StreamWriter) -> None:
            while not writer.is_closing():
                writer.write(b"a" * 1000)
                await writer.drain()
                await asyncio.sleep(1)

        await self._send(self._head(10_000_000) + b'{"prompt": "', trickle)

    async def send_large_body(self, size: int) -> None:
        """Send an image that is too large, as fast as possible."""
        begin, end = b'{"model": "4x-ultrasharp", "prompt": "", "image": "', b'"}'

        async def fill(writer: asyncio.StreamWriter) -> None:
            piece = b"A" * 65536
            for left in range(size - len(begin) - len(end), 0, -len(piece)):
                writer.write(piece[:left])
                await writer.drain()
            writer.write(end)

        await self._send(self._head(size) + begin, fill)

    def _head(self, size: int) -> bytes:
        lines = [f"POST {PATH} HTTP/1.1", "Host: service", f"Authorization: Bearer {self._key}"]
        lines += [f"Content-Length: {size}", "Connection: close", "", ""]
        return "\r\n".join(lines).encode()

    async def _send(
        self, begin: bytes, go_on: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
    ) -> None:
        """Send something on a new connection, and wait until the service closes it."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(begin)
            await writer.drain()
            self._begun.release()
            if go_on is not None:
                await go_on(writer)
            while await reader.read(65536):
                pass
        finally:
            writer.transport.abort()


if __name__ == "__main__":
    main()

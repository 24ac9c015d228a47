"""A process of a measurement on a port of its own, which can be started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from comfy_instances.process.child import find_free_port

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 90.0


@dataclass
class Program:
    """A process on a port of its own, which can be started again.

    Without a `ready_path` it listens nowhere, and is ready once it runs.
    """

    name: str
    command: Sequence[str]
    ready_path: str | None
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    port: int = field(default_factory=find_free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        return self.directory / f"{self.name}.log"

    async def start(self) -> float:
        """Start it, and return the seconds until it was ready. Raises RuntimeError, TimeoutError."""
        begun = time.monotonic()
        self.launch()
        await self.wait_until_ready()
        return time.monotonic() - begun

    async def wait_until_ready(self) -> None:
        """Wait until it answers. Raises RuntimeError if it ends, and TimeoutError."""
        async with asyncio.timeout(WAIT_SECONDS), aiohttp.ClientSession() as http:
            while self.ready_path is not None and not await answers(http, self.url + self.ready_path):
                if self.process is None or self.process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended: {self.log_file.read_text()[-2000:]}")
                await asyncio.sleep(0.05)

    def launch(self) -> None:
        command = list(self.command)
        if self.ready_path is not None:
            command += ["--port", str(self.port)]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.cwd, env={**os.environ, **self.environment}
            )

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if any, and return the exit status."""
        assert self.process is not None
        if number is not None:
            self.send(number)
        return await asyncio.to_thread(self.process.wait, WAIT_SECONDS)


async def answers(http: aiohttp.ClientSession, url: str) -> bool:
    """Return whether a GET is answered with 200 within five seconds."""
    with suppress(aiohttp.ClientError, TimeoutError):
        async with http.get(url, timeout=aiohttp.ClientTimeout(total=5)) as response:
            return response.status == 200
    return False


async def seconds_until(begun: float, condition: Callable[[], bool]) -> float:
    """Return the seconds from `begun` until a condition holds, which is looked at every 20 ms."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not await asyncio.to_thread(condition):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {WAIT_SECONDS:g} s")
        await asyncio.sleep(0.02)
    return round(time.monotonic() - begun, 2)

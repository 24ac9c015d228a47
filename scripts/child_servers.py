"""Starts servers as child processes and waits until they are ready: the service, and a simulated instance."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_instances.process.child import find_free_port

PIXELFACTORY_COMMAND = Path(sys.executable).with_name("pixelfactory")
UP_COMMAND = (str(PIXELFACTORY_COMMAND), "up")
READY_SECONDS = 60.0
STOP_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running server."""

    url: str
    pid: int


@contextmanager
def run_simulator(directory: Path) -> Iterator[ServerProcess]:
    """Run a simulated instance that takes no simulated time."""
    command = [sys.executable, "-m", "comfy_instances.simulator", "--time-scale", "0"]
    command += ["--base-directory", str(directory)]
    with run_server(command, "/system_stats", log=directory / "log") as server:
        yield server


@contextmanager
def run_service(
    *options: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    preferred_port: int = 0,
    program: Sequence[str] = UP_COMMAND,
) -> Iterator[ServerProcess]:
    """Run `pixelfactory up`, or `program`, with `options`; its output goes to the file `log`."""
    command = [*program, *options]
    with run_server(
        command, "/readyz", log=log, environment=environment, preferred_port=preferred_port
    ) as server:
        yield server


@contextmanager
def run_bench_service(directory: Path, *options: str) -> Iterator[ServerProcess]:
    """Run the service with its data in `directory`; its simulated instances take no simulated time."""
    environment = {"PIXELFACTORY_DATA_DIR": str(directory), "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0"}
    with run_service(*options, log=directory / "log", environment=environment) as server:
        yield server


def run_cli(*arguments: str, environment: Mapping[str, str] | None = None) -> Any:
    """Run a `pixelfactory` command and return the JSON that it prints."""
    done = subprocess.run(
        [PIXELFACTORY_COMMAND, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    return json.loads(done.stdout)


def create_api_key(directory: Path, *options: str) -> str:
    """Create an API key with credit for the service whose data is in `directory`."""
    environment = {"PIXELFACTORY_DATA_DIR": str(directory)}
    return str(
        run_cli("keys", "create", "--credit", "1000", *options, "--json", environment=environment)["key"]
    )


@contextmanager
def run_server(
    command: Sequence[str],
    ready_path: str,
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    preferred_port: int = 0,
    ready_seconds: float = READY_SECONDS,
) -> Iterator[ServerProcess]:
    """Run a command on a free port, from its first successful response at `ready_path`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    port = find_free_port(preferred=preferred_port)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(f"{url}{ready_path}", process, log, ready_seconds)
        yield ServerProcess(url, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    sys.exit(
        f"{process.args!r} was not ready within {seconds:g} s; its log {log} ends with:\n"
        f"{log.read_text()[-2000:]}"
    )

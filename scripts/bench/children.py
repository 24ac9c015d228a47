"""What a measurement needs running: a simulated instance, the service, and a key with money."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PIXELFACTORY_COMMAND = Path(sys.executable).with_name("pixelfactory")
READY_SECONDS = 60.0
STOP_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class ServerProcess:
    url: str
    pid: int


@contextmanager
def run_simulator(directory: Path) -> Iterator[ServerProcess]:
    """An instance that spends no simulated time."""
    command = [sys.executable, "-m", "comfy_instances.simulator", "--time-scale", "0"]
    with _run_server([*command, "--base-directory", str(directory)], "/system_stats", directory) as child:
        yield child


@contextmanager
def run_service(directory: Path, *options: str) -> Iterator[ServerProcess]:
    """`pixelfactory up` with its data in `directory`; its simulated instances spend no simulated time."""
    command = [str(PIXELFACTORY_COMMAND), "up", "--data-dir", str(directory), *options]
    with _run_server(command, "/readyz", directory) as child:
        yield child


def create_api_key(directory: Path) -> str:
    """A key of the service whose data are in `directory`."""
    command = [str(PIXELFACTORY_COMMAND), "keys", "create", "--credit", "1000", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, env=_server_environment(directory))
    return str(json.loads(done.stdout)["key"])


@contextmanager
def _run_server(command: Sequence[str], ready_path: str, directory: Path) -> Iterator[ServerProcess]:
    """A child that listens on a free port, from its first good answer at the path `ready_path`."""
    directory.mkdir(parents=True, exist_ok=True)
    port, log = _free_port(), directory / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=sink, stderr=sink, env=_server_environment(directory)
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(f"{url}{ready_path}", process, log)
        yield ServerProcess(url, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    sys.exit(f"{process.args!r} did not start:\n{log.read_text()[-2000:]}")


def _server_environment(directory: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PIXELFACTORY_DATA_DIR": str(directory),
        "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

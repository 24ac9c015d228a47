"""Starts a server with ComfyUI's protocol as a child process: the simulator, or a real ComfyUI."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from comfy_instances.process.child import find_free_port
from tests.support.cli import CommandProcess, start_simulator
from tests.support.network_namespace import NetworkNamespace

ROOT = Path(__file__).resolve().parent.parent.parent
#: Longest time that a start may take.
START_SECONDS = 180.0
#: Threads that wait for work burn a core each, and tiny models gain nothing from them.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
#: Options of the ComfyUI of tests: on the CPU, or what the environment asks for, such as nothing on a GPU.
COMFYUI_OPTIONS = shlex.split(os.environ.get("COMFYUI_TEST_OPTIONS", "--cpu"))
LOG_FILE = "server.log"
#: The line in which a simulator logs its address.
LOGGED_URL = re.compile(r"http://[\d.]+:\d+(?=\n)")


#: Both can be waited for, asked for their status and sent signals alike.
ServerProcess = subprocess.Popen[bytes] | CommandProcess


@dataclass(frozen=True)
class ComfyUIServer:
    """A running server."""

    url: str
    #: Its `--base-directory`.
    base: Path
    process: ServerProcess


def installed_comfyui() -> Path | None:
    """The folder of an installed ComfyUI (`source/` and `venv/`), if there is one."""
    named = os.environ.get("PIXELFACTORY_COMFYUI_DIR")
    folder = Path(named) if named else platformdirs.user_data_path("pixelfactory") / "comfyui"
    complete = (folder / "source" / "main.py").is_file() and (folder / "venv" / "bin" / "python").is_file()
    return folder if complete else None


@contextmanager
def simulator(
    base: Path, *options: str, program: str | None = None, inside: NetworkNamespace | None = None
) -> Iterator[ComfyUIServer]:
    """Run a simulator. It binds a free port itself and logs it, so no other process can take the port.

    `program` is Python code that changes the simulator and then runs it.
    """
    arguments = ["--port", "0", "--base-directory", str(base), *options]
    log = base / LOG_FILE
    if program is None and inside is None:
        base.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        with _served(
            start_simulator(*arguments, environment=dict(os.environ), output=log), None, base
        ) as server:
            yield server
        return
    run = ["-m", "comfy_instances.simulator"] if program is None else ["-c", program]
    command = [sys.executable, *run, *arguments]
    with _child(inside.command(command) if inside else command, None, base) as server:
        yield server


@contextmanager
def real_comfyui(folder: Path, base: Path, *options: str) -> Iterator[ComfyUIServer]:
    """With tiny models, without paid nodes, with its database in memory.

    Its own custom node for pictures over the socket is linked in; ComfyUI does not start without the folder.
    """
    port = find_free_port()
    # Checkpoints that a CPU runs in seconds.
    write = [sys.executable, "-m", "scripts.tiny_models", str(base / "models")]
    subprocess.run(write, cwd=ROOT, check=True, capture_output=True)
    nodes = base / "custom_nodes"
    nodes.mkdir(parents=True, exist_ok=True)
    (nodes / "websocket_image_save.py").symlink_to(
        folder / "source" / "custom_nodes" / "websocket_image_save.py"
    )
    command = [str(folder / "venv" / "bin" / "python"), str(folder / "source" / "main.py"), *COMFYUI_OPTIONS]
    command += ["--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
    command += ["--port", str(port), "--base-directory", str(base), *options]
    with _child(command, port, base) as server:
        yield server


@contextmanager
def _child(command: Sequence[str], port: int | None, base: Path) -> Iterator[ComfyUIServer]:
    """Run a program that serves on `port`, or on the port that it logs."""
    base.mkdir(parents=True, exist_ok=True)
    with (base / LOG_FILE).open("wb") as log:
        environment = os.environ | ONE_THREAD
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        with _served(process, port, base) as server:
            yield server


@contextmanager
def _served(process: ServerProcess, port: int | None, base: Path) -> Iterator[ComfyUIServer]:
    """Wait for a started server, and end it afterwards."""
    try:
        yield ComfyUIServer(_wait_until_up(port, process, base / LOG_FILE), base, process)
    finally:
        process.kill()
        process.wait()


def _wait_until_up(port: int | None, process: ServerProcess, log: Path) -> str:
    """Return the URL of the server once it responds."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {log.read_text()[-2000:]}")
        found = LOGGED_URL.search(log.read_text()) if port is None else None
        url = found.group() if found else f"http://127.0.0.1:{port or 0}"
        with suppress(OSError), urllib.request.urlopen(f"{url}/system_stats", timeout=5):
            if process.poll() is None:
                return url
        time.sleep(0.05)
    raise TimeoutError(f"the server did not respond within {START_SECONDS:g} s:\n{log.read_text()[-2000:]}")

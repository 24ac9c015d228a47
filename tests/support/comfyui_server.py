"""Starting what speaks ComfyUI's protocol, as a child of the tests: the simulator, or the real one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

ROOT = Path(__file__).resolve().parent.parent.parent
#: Seconds that a start may take.
PATIENCE = 90.0


@dataclass(frozen=True)
class ComfyUIServer:
    """A running server."""

    url: str
    #: Its `--base-directory`.
    base: Path
    process: subprocess.Popen[bytes]


def installed_comfyui() -> Path | None:
    """The folder of an installed ComfyUI (`source/` and `venv/`), if there is one."""
    named = os.environ.get("PIXELFACTORY_COMFYUI_DIR")
    folder = Path(named) if named else platformdirs.user_data_path("pixelfactory") / "comfyui"
    complete = (folder / "source" / "main.py").is_file() and (folder / "venv" / "bin" / "python").is_file()
    return folder if complete else None


@contextmanager
def simulator(base: Path, *options: str) -> Iterator[ComfyUIServer]:
    port = free_port()
    command = [sys.executable, "-m", "comfy_instances.simulator", "--port", str(port)]
    with _child([*command, "--base-directory", str(base), *options], port, base) as server:
        yield server


@contextmanager
def real_comfyui(folder: Path, base: Path, *options: str) -> Iterator[ComfyUIServer]:
    """On the CPU, with tiny models, without paid nodes, with its database in memory.

    Its own custom node for pictures over the socket is linked in; ComfyUI does not start without the folder.
    """
    port = free_port()
    # Checkpoints that a CPU runs in seconds.
    write = [sys.executable, "-m", "scripts.tiny_models", str(base / "models")]
    subprocess.run(write, cwd=ROOT, check=True, capture_output=True)
    nodes = base / "custom_nodes"
    nodes.mkdir(parents=True, exist_ok=True)
    (nodes / "websocket_image_save.py").symlink_to(
        folder / "source" / "custom_nodes" / "websocket_image_save.py"
    )
    command = [str(folder / "venv" / "bin" / "python"), str(folder / "source" / "main.py"), "--cpu"]
    command += ["--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
    command += ["--port", str(port), "--base-directory", str(base), *options]
    with _child(command, port, base) as server:
        yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _child(command: Sequence[str], port: int, base: Path) -> Iterator[ComfyUIServer]:
    base.mkdir(parents=True, exist_ok=True)
    with (base / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_up(url, process, base / "server.log")
            yield ComfyUIServer(url, base, process)
        finally:
            process.kill()
            process.wait()


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {log.read_text()[-2000:]}")
        with suppress(OSError), urllib.request.urlopen(f"{url}/system_stats", timeout=5):
            if process.poll() is None:
                return
        time.sleep(0.05)
    raise TimeoutError(f"no answer from {url} within {PATIENCE:g} s")

"""A real ComfyUI as a child process, for tests: on the CPU, or as `COMFYUI_TEST_OPTIONS` says."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.support.comfyui_server import COMFYUI_OPTIONS, ONE_THREAD
from tests.support.ports import find_lasting_port

START_TIMEOUT_S = 180


class RealServer:
    """Started and stopped by the test; keeps its port and its folders over restarts."""

    def __init__(self, install: Path, base: Path, *options: str) -> None:
        """`options` are further ones of ComfyUI's command line."""
        self._install = install
        self._options = options
        self.base = base
        self.port = find_lasting_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        nodes = base / "custom_nodes"
        nodes.mkdir(parents=True)
        shutil.copy(install / "source" / "custom_nodes" / "websocket_image_save.py", nodes)

    def start(self) -> None:
        """Returns when it answers. Raises TimeoutError with the end of its log where it does not."""
        log = self.base / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(self._install / "venv" / "bin" / "python", "main.py"),
                    *COMFYUI_OPTIONS,
                    *("--port", str(self.port)),
                    *("--base-directory", self.base, "--database-url", "sqlite:///:memory:"),
                    *("--disable-auto-launch", "--disable-api-nodes"),
                    *self._options,
                ],
                cwd=self._install / "source",
                env=os.environ | ONE_THREAD,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.kill()
                raise TimeoutError(f"ComfyUI did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(URLError, OSError), urlopen(f"{self.url}/system_stats", timeout=5):
            return True
        return False

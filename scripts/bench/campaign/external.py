"""Instances that the service adopts: simulators and perhaps a real ComfyUI, launched again when they end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from comfy_instances.process.child import find_free_port

START_SECONDS = 120.0
SIMULATORS = 3
ROOT = Path(__file__).resolve().parents[3]


@dataclass
class ExternalInstance:
    """One server with ComfyUI's protocol on a fixed port of the loopback interface."""

    port: int
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def launch(self) -> None:
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(self.command, stdout=sink, stderr=sink)


@dataclass
class ExternalFleet:
    """Runs the servers in `directory`; `comfyui` is the folder of an installed ComfyUI, if one runs too."""

    directory: Path
    comfyui: Path | None
    time_scale: float
    instances: list[ExternalInstance] = field(default_factory=list)
    _keeper: asyncio.Task[None] | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(instance.url for instance in self.instances)

    def processes(self) -> list[psutil.Process]:
        """Return the running servers."""
        found = []
        for instance in self.instances:
            if instance.process is not None and instance.process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    found.append(psutil.Process(instance.process.pid))
        return found

    async def start(self) -> None:
        """Launch all, and wait until they respond. Raises TimeoutError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.instances = [self._simulator(number) for number in range(SIMULATORS)]
        if self.comfyui is not None:
            self.instances.append(await asyncio.to_thread(self._real, self.comfyui))
        await asyncio.to_thread(self._launch_ended)
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as http:
            await asyncio.gather(*(_wait_until_responds(http, instance.url) for instance in self.instances))
        self._keeper = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for process in self.processes():
            process.kill()
        await asyncio.to_thread(psutil.wait_procs, self.processes(), 10)

    async def _keep_running(self) -> None:
        while True:
            await asyncio.sleep(0.3)
            await asyncio.to_thread(self._launch_ended)

    def _launch_ended(self) -> None:
        for instance in self.instances:
            if instance.process is None or instance.process.poll() is not None:
                instance.launch()

    def _simulator(self, number: int) -> ExternalInstance:
        port, base = find_free_port(), self.directory / f"sim-{number}"
        command = [sys.executable, "-m", "comfy_instances.simulator", "--port", str(port)]
        command += ["--time-scale", str(self.time_scale), "--base-directory", str(base)]
        return ExternalInstance(port, command, self.directory / f"sim-{number}.log")

    def _real(self, comfyui: Path) -> ExternalInstance:
        """Return a ComfyUI on the CPU with tiny models, without paid nodes, with its database in memory."""
        port, base = find_free_port(), self.directory / "real"
        # ComfyUI does not start without this folder.
        (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
        write = [sys.executable, "-m", "scripts.tiny_models", str(base / "models")]
        subprocess.run(write, cwd=ROOT, check=True, capture_output=True)
        python, main = comfyui / "venv" / "bin" / "python", comfyui / "source" / "main.py"
        command = [str(python), str(main), "--cpu", "--disable-auto-launch", "--disable-api-nodes"]
        command += [
            "--database-url",
            "sqlite:///:memory:",
            "--port",
            str(port),
            "--base-directory",
            str(base),
        ]
        return ExternalInstance(port, command, self.directory / "real.log")


async def _wait_until_responds(http: aiohttp.ClientSession, url: str) -> None:
    while True:
        with suppress(aiohttp.ClientError):
            async with http.get(f"{url}/system_stats") as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.1)

"""Programs that other projects put in front of ComfyUI, started as their documents say, for `peers.py`.

Each takes a graph and returns its image. None of them is part of this repository: their commands are options.
"""

from __future__ import annotations

import base64
import os
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from comfy_instances.process.child import find_free_port
from scripts.child_servers import run_server

#: Runs a graph and returns its image.
Run = Callable[[Mapping[str, Any]], Awaitable[bytes]]
#: Runs the handler, which has its ComfyUI's address as a constant, behind the local server of RunPod's SDK.
_WORKER_PROGRAM = """
import sys
folder, instance = sys.argv[1:3]
sys.path[:0] = [folder, folder + "/src"]
import handler, runpod
handler.COMFY_HOST = instance
sys.argv[1:] = ["--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port", sys.argv[-1]]
runpod.serverless.start({"handler": handler.handler})
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running program of another project."""

    name: str
    url: str
    #: Runs a graph with a client of the program.
    run: Callable[[aiohttp.ClientSession, Mapping[str, Any]], Awaitable[bytes]]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Run]:
        """Yield what runs a graph, over connections that are kept."""
        # Some servers close a connection that was idle for five seconds, while a request is on its way.
        connector = aiohttp.TCPConnector(keepalive_timeout=2)
        async with aiohttp.ClientSession(self.url, connector=connector) as http:
            yield lambda graph: self.run(http, graph)


@contextmanager
def run_salad(command: str, instance: str, outputs: Path, directory: Path) -> Iterator[Peer]:
    """Run Salad's comfyui-api. It reads results from the folder of the instance.

    It starts ComfyUI itself; here it starts a program that does nothing until this one has
    ended, because the instance runs already.
    """
    for folder in ("workflows", "models"):
        (directory / folder).mkdir(parents=True)
    port = find_free_port()
    address = URL(instance)
    environment = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DIRECT_ADDRESS": str(address.host),
        "COMFYUI_PORT_HOST": str(address.port),
        "CMD": f"tail --pid={os.getpid()} -f /dev/null",
        "COMFY_HOME": str(directory),
        "OUTPUT_DIR": str(outputs),
        "CACHE_DIR": str(directory / "cache"),
        "WORKFLOW_DIR": str(directory / "workflows"),
        "LOG_LEVEL": "error",
    }
    with run_server(
        shlex.split(command), "/ready", log=directory / "log", environment=environment, preferred_port=port
    ) as server:
        yield Peer("comfyui-api", server.url, run_by_salad)


async def run_by_salad(http: aiohttp.ClientSession, graph: Mapping[str, Any]) -> bytes:
    """Post a graph, and take the image from the response."""
    async with http.post("/prompt", json={"prompt": graph}) as response:
        response.raise_for_status()
        body: dict[str, Any] = await response.json()
    return base64.b64decode(body["images"][0])


@contextmanager
def run_worker(command: Sequence[str], instance: str, directory: Path) -> Iterator[Peer]:
    """Run worker-comfyui's handler; `command` has its Python and its folder."""
    python, folder = command
    address = URL(instance)
    program = [python, "-c", _WORKER_PROGRAM, folder, f"{address.host}:{address.port}"]
    with run_server(program, "/", log=directory / "log") as server:
        yield Peer("worker-comfyui", server.url, run_by_worker)


async def run_by_worker(http: aiohttp.ClientSession, graph: Mapping[str, Any]) -> bytes:
    """Post a graph, and take the image from the response. Raises RuntimeError if the job has failed."""
    async with http.post("/runsync", json={"input": {"workflow": graph}}) as response:
        response.raise_for_status()
        body: dict[str, Any] = await response.json()
    if body["status"] != "COMPLETED" or "images" not in body.get("output", {}):
        raise RuntimeError(f"the job has ended as {body}")
    return base64.b64decode(body["output"]["images"][0]["data"])

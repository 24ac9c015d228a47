"""Measures the delays that callers see while an image is made, beside a program that talks to the instance.

    .venv/bin/python -m scripts.bench.latency [--quick]

A simulated instance samples for a second or so. In turn: a bare websocket client, which sends the same
graph, and a caller of the service who follows the job by server-sent events, with previews. For both:
milliseconds from the request to the first progress and the first preview, and between the end of the graph
and the answer. The end of the service's graph is what it has stored, in the clock of the same machine. Also:
from the start of `pixelfactory generate` to its first request, beside the start of Python.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

from orchestrator.catalog import Catalog
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from scripts.bench.report import save_results
from scripts.child_servers import PIXELFACTORY_COMMAND, create_api_key, run_server, run_service

MODEL = "flux-1-dev"
IMAGE_SIZE = 512
#: The simulated instance takes about a second.
TIME_SCALE = "0.1"
IMAGE = {
    "model": MODEL,
    "prompt": "a lighthouse",
    "size": f"{IMAGE_SIZE}x{IMAGE_SIZE}",
    "response_format": "url",
}
Delays = dict[str, float]


class BareCaller:
    """Follows prompts by the websocket of the instance."""

    def __init__(self, http: aiohttp.ClientSession, events: ClientConnection, client_id: str) -> None:
        self._http = http
        self._events = events
        self._client_id = client_id
        self._model = Catalog.load(SHIPPED_WORKFLOWS_DIR)[MODEL]
        self._seeds = itertools.count(int(time.time()))

    async def __call__(self) -> Delays:
        seed = next(self._seeds)
        params = self._model.example_params(width=IMAGE_SIZE, height=IMAGE_SIZE, seed=seed)
        graph = self._model.render_graph(params, filename_prefix=f"bench-{seed}")
        body = {"prompt": graph, "client_id": self._client_id, "extra_data": {"preview_method": "auto"}}
        found: Delays = {}
        begun = time.time()
        async with self._http.post("/prompt", json=body) as response:
            prompt = (await response.json())["prompt_id"]
        images: list[dict[str, str]] = []
        async for frame in self._events:
            if isinstance(frame, bytes):
                found.setdefault("preview", time.time() - begun)
                continue
            message = json.loads(frame)
            data = message.get("data", {})
            if data.get("prompt_id") != prompt:
                continue
            if message["type"] == "progress":
                found.setdefault("progress", time.time() - begun)
            if message["type"] == "executed":
                images += (data.get("output") or {}).get("images", [])
            if message["type"] == "execution_success":
                break
        ended = time.time()
        for image in images:
            async with self._http.get("/view", params=image) as response:
                await response.read()
        return {**found, "answer": time.time() - ended}


class ServiceCaller:
    """Follows jobs of the service by server-sent events."""

    def __init__(self, http: aiohttp.ClientSession, data: Path) -> None:
        self._http = http
        self._data = data
        self._seeds = itertools.count(int(time.time()))

    async def __call__(self) -> Delays:
        found: Delays = {}
        begun = time.time()
        body = {**IMAGE, "seed": next(self._seeds)}
        headers = {"Prefer": "respond-async"}
        async with self._http.post("/v1/images/generations", json=body, headers=headers) as response:
            job_id = (await response.json())["jobId"]
        event = ""
        async with self._http.get(f"/api/v1/jobs/{job_id}/events") as stream:
            stream.raise_for_status()
            async for line in stream.content:
                if line.startswith(b"event:"):
                    event = line.decode().partition(":")[2].strip()
                    if event in ("progress", "preview"):
                        found.setdefault(event, time.time() - begun)
        answered = time.time()
        return {**found, "answer": answered - await asyncio.to_thread(self._run_end, job_id)}

    def _run_end(self, job_id: str) -> float:
        with closing(sqlite3.connect(self._data / "pixelfactory.db")) as db:
            (text,) = db.execute("SELECT run_ended_at FROM shards WHERE job_id = ?", (job_id,)).fetchone()
        return datetime.fromisoformat(text).timestamp()


async def measure_delays(instance: str, service: str, data: Path, rounds: int) -> dict[str, Any]:
    client_id = uuid.uuid4().hex
    url = f"{instance.replace('http', 'ws', 1)}/ws?clientId={client_id}"
    headers = {"Authorization": f"Bearer {create_api_key(data)}"}
    async with (
        connect(url, max_size=None, compression=None) as events,
        aiohttp.ClientSession(instance) as bare,
        aiohttp.ClientSession(service, headers=headers) as http,
    ):
        ways: dict[str, Callable[[], Awaitable[Delays]]] = {
            "bare": BareCaller(bare, events, client_id),
            "service": ServiceCaller(http, data),
        }
        taken: dict[str, list[Delays]] = {name: [] for name in ways}
        for number in range(1 + rounds):
            for name, way in ways.items():
                found = await way()
                if number:  # the first one loads the model
                    taken[name].append(found)
    return {
        name: {
            kind: round(statistics.median(one[kind] for one in found) * 1000, 1)
            for kind in ("progress", "preview", "answer")
            if all(kind in one for one in found)
        }
        for name, found in taken.items()
    }


def measure_generate(rounds: int) -> dict[str, float]:
    """Return the milliseconds until `generate` has connected to a server, and of an empty Python program."""
    connected, empty = [], []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(60)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        command = [str(PIXELFACTORY_COMMAND), "generate", MODEL, "a fox", "--url", url, "-o", "/dev/null"]
        for _ in range(rounds):
            begun = time.perf_counter()
            with subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PIXELFACTORY_API_KEY": "pk-x"},
            ) as child:
                server.accept()[0].close()
                connected.append(time.perf_counter() - begun)
                child.kill()
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            empty.append(time.perf_counter() - begun)
    return {
        "first_request_ms": round(statistics.median(connected) * 1000, 1),
        "python_ms": round(statistics.median(empty) * 1000, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 20, not saved")
    rounds = 3 if parser.parse_args().quick else 20
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        simulator = [sys.executable, "-m", "comfy_instances.simulator", "--time-scale", TIME_SCALE]
        simulator += ["--base-directory", str(directory / "simulator")]
        data = directory / "service"
        environment = {"PIXELFACTORY_DATA_DIR": str(data), "PIXELFACTORY_LOG_LEVEL": "WARNING"}
        with (
            run_server(simulator, "/system_stats", log=directory / "simulator" / "log") as instance,
            run_service("--instances", instance.url, log=data / "log", environment=environment) as service,
        ):
            result = asyncio.run(measure_delays(instance.url, service.url, data, rounds))
    result["generate"] = measure_generate(max(3, rounds // 4))
    for name, row in result.items():
        print(f"{name:10} " + "  ".join(f"{kind} {value:g} ms" for kind, value in row.items()))
    if rounds > 3:
        save_results("latency", result)


if __name__ == "__main__":
    main()

"""Compare callers' own graphs by Comfy's SDK with a bare websocket client on the same instance.

    .venv/bin/python -m scripts.bench.own_graphs [--instance URL] [--rounds 25]

Both clients run the same trivial graph with another color each time, one after the other in random order, so
that both see the same load of the machine. The service adopts the instance that the bare client talks to: a
simulator, or the ComfyUI at --instance. Needs the extra `clients` (comfy-sdk).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from comfy_sdk import Comfy, Workflow

from scripts.child_servers import create_api_key, run_bench_service, run_simulator

SIZE, WARM_UP = 1024, 3


def graph(color: int) -> dict[str, Any]:
    """Return the graph that both clients run."""
    source = {"width": SIZE, "height": SIZE, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": source},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "bench"}},
    }


async def run_bare(url: str, color: int) -> bytes:
    """Run the graph as a program that talks to ComfyUI itself."""
    client = uuid4().hex
    async with aiohttp.ClientSession(url) as http, http.ws_connect(f"/ws?clientId={client}") as socket:
        body = {"prompt": graph(color), "client_id": client}
        async with http.post("/prompt", json=body) as response:
            prompt_id = (await response.json())["prompt_id"]
        file: dict[str, str] = {}
        async for message in socket:
            event = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else {}
            data = event.get("data", {})
            if event.get("type") == "executed" and data["prompt_id"] == prompt_id:
                file = data["output"]["images"][0]
            if event.get("type") == "execution_success":
                break
        async with http.get("/view", params=file) as response:
            return await response.read()


def measure(run: Callable[[int], object], color: int) -> float:
    """Return the milliseconds of one run."""
    started = time.perf_counter()
    run(color)
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Print the medians of both clients and of their paired difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--instance", help="URL of a running ComfyUI (default: a simulator)")
    parser.add_argument("--rounds", type=int, default=25, help="rounds of each kind (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        url = options.instance
        if url is None:
            url = stack.enter_context(run_simulator(Path(directory) / "instance")).url
        data = Path(directory) / "service"
        served = stack.enter_context(run_bench_service(data, "--instances", url))
        os.environ["COMFY_BASE_URL"] = served.url
        key = create_api_key(data, "--scope", "graphs", "--scope", "read")
        print_results(compare(url, key, options.rounds))


def compare(url: str, key: str, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each run, by client."""
    client = Comfy(api_key=key)

    def run_sdk(color: int) -> None:
        job = client.run(Workflow(graph(color)))
        assert job.outputs[0].to_bytes()

    clients: dict[str, Callable[[int], object]] = {
        "bare websocket": lambda color: asyncio.run(run_bare(url, color)),
        "comfy_sdk.run": run_sdk,
    }
    rows: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(rounds + WARM_UP):
        for name in random.sample(list(clients), len(clients)):
            took = measure(clients[name], random.randrange(0xFFFFFF))
            if number >= WARM_UP:
                rows[name].append(took)
    return rows


def print_results(rows: dict[str, list[float]]) -> None:
    """Print the medians."""
    for name, values in rows.items():
        print(f"{name:16} median {statistics.median(values):7.1f} ms, best {min(values):7.1f} ms")
    pairs = [sdk - bare for bare, sdk in zip(*rows.values(), strict=True)]
    print(f"{'difference':16} median {statistics.median(pairs):7.1f} ms")


if __name__ == "__main__":
    main()

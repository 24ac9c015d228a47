"""Measures what a Ray fleet adds to an image, compared with a local fleet.

    .venv/bin/python -m scripts.bench.ray_fleet [--quick]

Two services run side by side, each with one simulated instance that takes only the time to draw the image:
one launches it itself, the other has it on the node of a Ray cluster of this machine. One request is in
flight, and the services take turns, so that other work on the machine affects both. Needs the extra `ray`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from comfy_instances.fleet.ray.connection import is_ray_installed
from comfy_instances.process.child import find_free_port
from scripts.bench.overhead import IMAGE_SIZE, ServiceClient, format_latencies
from scripts.bench.report import latency_percentiles, save_results
from scripts.child_servers import ServerProcess, create_api_key, run_service

#: Ray takes 127.0.0.1 for an address of the network.
ADDRESS = "127.77.1.1"
SERVICES = ("local", "ray")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="20 requests of each kind instead of 300")
    parser.add_argument("--model", default="flux-1-schnell", help="an image model (%(default)s)")
    options = parser.parse_args()
    if not is_ray_installed():
        sys.exit("this benchmark needs Ray: pip install -e '.[ray]'")
    count, warm_up = (20, 5) if options.quick else (300, 30)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        address = stack.enter_context(run_ray(Path(directory)))
        folders = {name: Path(directory) / name for name in SERVICES}
        local = stack.enter_context(start_service(folders["local"]))
        ray = stack.enter_context(start_service(folders["ray"], "--ray", address))
        keys = {name: create_api_key(folder) for name, folder in folders.items()}
        urls = {"local": local.url, "ray": ray.url}
        taken = asyncio.run(measure_latencies(urls, keys, options.model, warm_up, count))
    result = print_results(options.model, taken)
    if not options.quick:
        save_results("ray_fleet", result)


@contextmanager
def run_ray(directory: Path) -> Iterator[str]:
    """Run a cluster of one node with one GPU that does not exist, and yield its address."""
    port = find_free_port(ADDRESS)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-gpus=1"]
    command += [f"--node-ip-address={ADDRESS}", f"--port={port}", "--include-dashboard=false"]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    with (directory / "ray.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            yield f"{ADDRESS}:{port}"
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def start_service(directory: Path, *options: str) -> Iterator[ServerProcess]:
    """Run a service with one simulated instance that takes no simulated time."""
    environment = {
        "PIXELFACTORY_DATA_DIR": str(directory),
        "PIXELFACTORY_RAY_NODE_DIR": str(directory / "node"),
        "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0",
    }
    log = directory / "log"
    with run_service("--simulate", "1", *options, log=log, environment=environment) as server:
        yield server


async def measure_latencies(
    urls: dict[str, str], keys: dict[str, str], model: str, warm_up: int, count: int
) -> dict[str, list[float]]:
    """Return the seconds of each request, by service."""
    seeds = itertools.count(int(time.time()))
    taken: dict[str, list[float]] = {name: [] for name in SERVICES}
    headers = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
    async with (
        aiohttp.ClientSession(urls["local"], headers=headers["local"]) as local,
        aiohttp.ClientSession(urls["ray"], headers=headers["ray"]) as ray,
    ):
        clients = {
            "local": ServiceClient(local, model, seeds, "url"),
            "ray": ServiceClient(ray, model, seeds, "url"),
        }
        for number in range(warm_up + count):
            # Each goes first every second time.
            for name in SERVICES if number % 2 else reversed(SERVICES):
                begun = time.perf_counter()
                await clients[name]()
                if number >= warm_up:
                    taken[name].append(time.perf_counter() - begun)
    return taken


def print_results(model: str, taken: dict[str, list[float]]) -> dict[str, Any]:
    """Print the result and return it."""
    spreads = {name: latency_percentiles(seconds) for name, seconds in taken.items()}
    local, ray = spreads["local"], spreads["ray"]
    count, size = len(taken["local"]), f"{IMAGE_SIZE}x{IMAGE_SIZE}"
    print(f"{model}, {size}, {count} requests each, one in flight")
    for name, found in spreads.items():
        print(f"{name:6} {format_latencies(found)}")
    added = {key: round(ray[key] - local[key], 2) for key in local}
    ratio = round(ray["median_ms"] / local["median_ms"], 3)
    print(f"{'adds':6} {format_latencies(added)}  ratio of medians {ratio}")
    return {"model": model, "size": size, "requests": count, **spreads, "added": added, "ratio": ratio}


if __name__ == "__main__":
    main()

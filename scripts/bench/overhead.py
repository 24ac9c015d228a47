"""Measures the time that the service adds to an image, compared with a bare websocket client.

    .venv/bin/python -m scripts.bench.overhead [--quick] [--comfyui DIR [-- --cpu]]

One request is in flight; the simulated instance takes only the time to draw the image. Bare and served
requests alternate, so that other work on the machine affects both. The bare client posts the graph that the
service would render, waits for the last message on the socket and downloads the image. The service also
authenticates, validates, prices, holds and captures money, stores the image in S3 and cleans up.

With `--comfyui` the instance is the ComfyUI that is installed in a folder, with our node pack, and the images
are 1024x1024 with the noise of a photograph. The bare client has them from ComfyUI's own `SaveImage`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

from orchestrator.catalog import Catalog, Model
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from scripts.bench.real_instance import run_comfyui
from scripts.bench.report import latency_percentiles, save_results
from scripts.child_servers import create_api_key, run_service, run_simulator

SendRequest = Callable[[], Awaitable[None]]
IMAGE_SIZE, PHOTOGRAPH_SIZE = 256, 1024
#: Requests of each kind, and those before, with a simulated and with a real instance.
COUNTS, PHOTOGRAPH_COUNTS, QUICK_COUNTS = (200, 30), (60, 5), (20, 5)
BENCH_WORKFLOWS_DIR = Path(__file__).resolve().parent / "workflows"
PHOTOGRAPH_MODEL = "bench-photograph"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="20 requests of each kind, not saved")
    parser.add_argument("--model", default="flux-1-schnell", help="an image model (%(default)s)")
    parser.add_argument("--comfyui", type=Path, metavar="DIR", help="of an installed ComfyUI")
    parser.add_argument("more", nargs="*", help="options of ComfyUI, after --")
    options = parser.parse_args()
    is_real = options.comfyui is not None
    count, warm_up = QUICK_COUNTS if options.quick else PHOTOGRAPH_COUNTS if is_real else COUNTS
    workflows = BENCH_WORKFLOWS_DIR if is_real else SHIPPED_WORKFLOWS_DIR
    model = Catalog.load(workflows)[PHOTOGRAPH_MODEL if is_real else options.model]
    size = PHOTOGRAPH_SIZE if is_real else IMAGE_SIZE
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        place, data = Path(directory) / "instance", Path(directory) / "service"
        instance = stack.enter_context(
            run_comfyui(options.comfyui, place, options.more) if is_real else run_simulator(place)
        )
        environment = {"PIXELFACTORY_DATA_DIR": str(data), "PIXELFACTORY_WORKFLOWS_DIR": str(workflows)}
        served = stack.enter_context(
            run_service("--instances", instance.url, log=data / "log", environment=environment)
        )
        taken = asyncio.run(
            measure_latencies(instance.url, served.url, create_api_key(data), model, size, warm_up, count)
        )
    result = print_results(model.id, size, taken)
    if not options.quick:
        save_results("overhead_comfyui" if is_real else "overhead", result)


async def measure_latencies(
    instance: str, service: str, key: str, model: Model, size: int, warm_up: int, count: int
) -> dict[str, list[float]]:
    """Return the seconds of each request, by client."""
    client_id = uuid.uuid4().hex
    socket_url = f"{instance.replace('http', 'ws', 1)}/ws?clientId={client_id}"
    headers = {"Authorization": f"Bearer {key}"}
    seeds = itertools.count(int(time.time()))
    async with (
        connect(socket_url, max_size=None, compression=None) as socket,
        aiohttp.ClientSession(instance) as bare,
        aiohttp.ClientSession(service, headers=headers) as through,
    ):
        ways: dict[str, SendRequest] = {
            "bare": BareClient(bare, socket, client_id, render_graphs(model, seeds, size)),
            "served, url": ServiceClient(through, model.id, seeds, "url", size),
            "served, b64_json": ServiceClient(through, model.id, seeds, "b64_json", size),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(warm_up + count):
            for name, ask in ways.items():
                begun = time.perf_counter()
                await ask()
                if number >= warm_up:
                    taken[name].append(time.perf_counter() - begun)
    return taken


def render_graphs(model: Model, seeds: Iterator[int], size: int) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        params = model.example_params(width=size, height=size, seed=seed)
        yield dict(model.render_graph(params, filename_prefix=f"bench-{seed}"))


class BareClient:
    """Makes an image with as few requests as ComfyUI's protocol allows."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        socket: ClientConnection,
        client_id: str,
        graphs: Iterator[dict[str, Any]],
    ) -> None:
        self._http = http
        self._socket = socket
        self._client_id = client_id
        self._graphs = graphs

    async def __call__(self) -> None:
        body = {"prompt": next(self._graphs), "client_id": self._client_id}
        async with self._http.post("/prompt", json=body) as response:
            prompt = (await response.json())["prompt_id"]
        for image in await self._images(prompt):
            async with self._http.get("/view", params=image) as response:
                response.raise_for_status()
                await response.read()

    async def _images(self, prompt: str) -> list[dict[str, str]]:
        images: list[dict[str, str]] = []
        async for frame in self._socket:
            message = json.loads(frame) if isinstance(frame, str) else {}
            data = message.get("data", {})
            if data.get("prompt_id") != prompt:
                continue
            if message["type"] == "executed":
                images += data["output"].get("images", [])
            if message["type"] == "execution_success":
                return images
        raise RuntimeError("the socket closed")


class ServiceClient:
    """Makes an image through the service."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        model: str,
        seeds: Iterator[int],
        response_format: str,
        size: int = IMAGE_SIZE,
    ) -> None:
        self._http = http
        self._seeds = seeds
        self._body = {
            "model": model,
            "prompt": "a lighthouse at dusk",
            "size": f"{size}x{size}",
            "response_format": response_format,
        }

    async def __call__(self) -> None:
        body = self._body | {"seed": next(self._seeds)}
        async with self._http.post("/api/v1/images/generations", json=body) as response:
            response.raise_for_status()
            await response.read()


def print_results(model: str, side: int, seconds_by_client: dict[str, list[float]]) -> dict[str, Any]:
    """Print the result and return it."""
    spreads = {name: latency_percentiles(seconds) for name, seconds in seconds_by_client.items()}
    bare = spreads["bare"]
    count, size = len(seconds_by_client["bare"]), f"{side}x{side}"
    print(f"{model}, {size}, {count} requests each, one in flight")
    rows: dict[str, Any] = {}
    for name, found in spreads.items():
        ratio = found["median_ms"] / bare["median_ms"]
        added = {key: round(found[key] - bare[key], 2) for key in found}
        rows[name] = {**found, "ratio": round(ratio, 2), "added": added}
        print(f"{name:17} {format_latencies(found)}  ratio {ratio:.2f}")
        if name != "bare":
            print(f"{'... adds':17} {format_latencies(added)}")
    return {"model": model, "size": size, "requests": count, **rows}


def format_latencies(found: dict[str, float]) -> str:
    return "  ".join(f"{name.removesuffix('_ms'):>6} {value:6.1f} ms" for name, value in found.items())


if __name__ == "__main__":
    main()

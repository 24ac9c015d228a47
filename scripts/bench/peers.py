"""Compare the service with programs that do the same job, in the same run on the same instance.

    python -m venv /tmp/peer
    /tmp/peer/bin/pip install comfy-api-proxy 'runpod~=1.7.12' websocket-client requests
    .venv/bin/python -m scripts.bench.peers [--quick] [--photograph] [--comfyui DIR [-- --cpu]] \
        [--proxy /tmp/peer/bin/comfy-api-proxy] [--salad 'node DIRECTORY/dist/src/index.js'] \
        [--worker /tmp/peer/bin/python DIRECTORY]

The instance is a simulator, or with `--comfyui` the ComfyUI that is installed in a folder, with our node
pack. The graph makes a picture of one color, or with `--photograph` one with the noise of a photograph.

The peers are those that are named: `comfy-api-proxy`, Comfy's own server of the Comfy API v2; Salad's
`comfyui-api`, built in a clone of its repository; the handler of RunPod's `worker-comfyui`, in a clone of its
repository, behind the local server of RunPod's SDK. Each has one ComfyUI, and no accounts and prices. The
proxy keeps records of jobs in a file, the others in memory; the service has stored and flushed jobs, money
and results before it says that they are there. The proxy and the service are asked in the same way: the graph
is posted, its events are read until it has ended, and the image is downloaded. The others have the image in
the response to the graph. A bare websocket client is the reference.

Latency is measured with one request in flight, in random order. Throughput has several callers, one way after
the other, twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from scripts.bench.peer_programs import Peer, Run, run_salad, run_worker
from scripts.bench.real_instance import run_comfyui
from scripts.bench.report import latency_percentiles, save_results
from scripts.bench.trivial_graphs import BARE, WARM_UP, describe_instance, graph, photograph, run_bare
from scripts.child_servers import create_api_key, run_server, run_service, run_simulator

ROUNDS, QUICK_ROUNDS = 60, 10
#: The proxy answers eight streams at a time.
CALLERS = 6
THROUGHPUT_SECONDS, QUICK_SECONDS = 8.0, 2.0
SCOPES = ("graphs", "read", "generate")
ENDED = ("succeeded", "failed", "canceled")
PATIENCE_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--proxy", metavar="COMMAND", help="the command comfy-api-proxy")
    parser.add_argument("--salad", metavar="COMMAND", help="what runs a built comfyui-api")
    parser.add_argument(
        "--worker", nargs=2, metavar=("PYTHON", "DIRECTORY"), help="a clone of worker-comfyui"
    )
    parser.add_argument("--comfyui", type=Path, metavar="DIR", help="of an installed ComfyUI")
    parser.add_argument("--photograph", action="store_true", help="a picture with noise")
    parser.add_argument("--quick", action="store_true", help="few requests; saves no result")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of latency (%(default)s)")
    parser.add_argument("--seconds", type=float, default=THROUGHPUT_SECONDS, help="of throughput, twice")
    parser.add_argument("more", nargs="*", help="options of ComfyUI, after --")
    options = parser.parse_args()
    is_real = options.comfyui is not None
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if options.quick else (options.rounds, options.seconds)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        base = Path(directory)
        place = base / "instance"
        instance = stack.enter_context(
            run_comfyui(options.comfyui, place, options.more) if is_real else run_simulator(place)
        ).url
        outputs = place / "output"
        peers = [stack.enter_context(peer) for peer in list_peers(options, instance, outputs, base)]
        environment = {"PIXELFACTORY_DATA_DIR": str(base / "service")}
        log = base / "service" / "log"
        service = stack.enter_context(run_service("--instances", instance, log=log, environment=environment))
        scopes = [word for scope in SCOPES for word in ("--scope", scope)]
        key = create_api_key(base / "service", *scopes)
        make_graph = photograph if options.photograph else graph
        rows = asyncio.run(compare(make_graph, instance, peers, service.url, key, rounds, seconds))
        result = {
            "instance": describe_instance(instance if is_real else None),
            "graph": make_graph.__name__,
            "callers": CALLERS,
            **rows,
        }
    print_rows(rows)
    if not options.quick:
        save_results("peers" + "_comfyui" * is_real + "_photograph" * options.photograph, result)


def list_peers(
    options: argparse.Namespace, instance: str, outputs: Path, base: Path
) -> Iterator[AbstractContextManager[Peer]]:
    """Yield the peers that the options name; each runs while its context is active."""
    if options.proxy:
        yield run_proxy(options.proxy, instance, base / "proxy")
    if options.salad:
        yield run_salad(options.salad, instance, outputs, base / "comfyui-api")
    if options.worker:
        yield run_worker(options.worker, instance, base / "worker-comfyui")


@contextmanager
def run_proxy(command: str, instance: str, directory: Path) -> Iterator[Peer]:
    """Run Comfy's own server."""
    program = [command, "run", "--comfyui", instance, "--state-dir", str(directory)]
    with run_server(program, "/api/v2/health", log=directory / "log") as server:
        yield Peer("comfy-api-proxy", server.url, run_job)


async def compare(
    make_graph: Callable[[int], Mapping[str, Any]],
    instance: str,
    peers: Sequence[Peer],
    service: str,
    key: str,
    rounds: int,
    seconds: float,
) -> dict[str, dict[str, float]]:
    """Return latency and throughput by client."""
    async with AsyncExitStack() as stack:
        headers = {"Authorization": f"Bearer {key}"}
        through_service = await stack.enter_async_context(aiohttp.ClientSession(service, headers=headers))
        clients: dict[str, Run] = {
            BARE: lambda prompt: run_bare(instance, prompt),
            "pixelfactory": lambda prompt: run_job(through_service, prompt),
        }
        for peer in peers:
            clients[peer.name] = await stack.enter_async_context(peer.open())
        taken: dict[str, list[float]] = {name: [] for name in clients}
        for number in range(rounds + WARM_UP):
            for name in random.sample(list(clients), len(clients)):
                prompt = make_graph(random.randrange(0xFFFFFF))
                started = time.perf_counter()
                await clients[name](prompt)
                if number >= WARM_UP:
                    taken[name].append(time.perf_counter() - started)
        made = dict.fromkeys(clients, 0)
        for _ in range(2):
            for name, run in clients.items():
                made[name] += await count_images(run, make_graph, seconds)
    found = {name: latency_percentiles(values) for name, values in taken.items()}
    return {
        name: {
            **latencies,
            "ratio": round(latencies["median_ms"] / found[BARE]["median_ms"], 2),
            "images_per_second": round(made[name] / (2 * seconds), 1),
        }
        for name, latencies in found.items()
    }


async def run_job(http: aiohttp.ClientSession, prompt: Mapping[str, Any]) -> bytes:
    """Run the graph over the Comfy API v2. Raises RuntimeError if it does not succeed."""
    async with http.post("/api/v2/jobs", json={"workflow": prompt}) as response:
        response.raise_for_status()
        job: dict[str, Any] = await response.json()
    async with http.get(f"/api/v2/jobs/{job['id']}/events") as response:
        response.raise_for_status()
        async for line in response.content:
            if line.startswith(b"data:") and json.loads(line[5:]).get("status") in ENDED:
                break
    # The proxy's stream may end before its job does, and its jobs are `expired` for a moment before that.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while job["status"] not in ENDED and time.monotonic() < deadline:
        async with http.get(f"/api/v2/jobs/{job['id']}") as response:
            response.raise_for_status()
            job = await response.json()
    if job["status"] != "succeeded":
        raise RuntimeError(f"the job has ended as {job['status']}: {job['error']}")
    async with http.get(f"/api/v2/assets/{job['outputs'][0]['id']}/content") as response:
        response.raise_for_status()
        return await response.read()


async def count_images(run: Run, make_graph: Callable[[int], Mapping[str, Any]], seconds: float) -> int:
    """Return the number of images that CALLERS callers get in so many seconds."""
    end, made = time.monotonic() + seconds, 0

    async def call() -> None:
        nonlocal made
        while time.monotonic() < end:
            await run(make_graph(random.randrange(0xFFFFFF)))
            made += time.monotonic() < end

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return made


def print_rows(rows: dict[str, dict[str, float]]) -> None:
    """Print a line per client."""
    for name, row in rows.items():
        print(
            f"{name:16} median {row['median_ms']:6.1f} ms, p95 {row['p95_ms']:6.1f} ms,"
            f" {row['ratio']:.2f} times the bare client;"
            f" {row['images_per_second']:6.1f} images/s with {CALLERS} callers"
        )


if __name__ == "__main__":
    main()

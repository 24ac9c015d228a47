"""Compare the clients of the field with a bare websocket client on the same instance, in the same run.

    .venv/bin/python -m scripts.bench.own_graphs [--instance URL] [--rounds 25]

`comfy_sdk.run` runs a caller's graph; `replicate.run` and fal's `subscribe` run a model with the same nodes.
All make an image of another color each time, one after the other in random order, so that all see the same
load of the machine, and end with the bytes of the image. The service adopts the instance that the bare client
talks to: a simulator, or the ComfyUI at --instance. fal's client speaks https only, so its times include TLS.
Without --rounds the result is saved, as `own_graphs` or, of a ComfyUI, as `own_graphs_comfyui`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from comfy_sdk import Comfy, Workflow
from replicate.client import Client as ReplicateClient

from comfy_instances.process.child import find_free_port
from orchestrator.storage.certificates import generate_certificates
from scripts.bench.report import save_results
from scripts.bench.trivial_graphs import BARE, SIZE, WARM_UP, describe_instance, graph, run_bare
from scripts.child_servers import create_api_key, run_service, run_simulator

ROUNDS = 25
#: Models without weights: EmptyImage and SaveImage, as the graph below.
WORKFLOWS = Path(__file__).resolve().parents[2] / "tests" / "workflows"
MODEL = "pixel-factory/test-image"


def measure(run: Callable[[int], object], color: int) -> float:
    """Return the milliseconds of one run."""
    started = time.perf_counter()
    run(color)
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Print the medians of all clients, and save them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--instance", help="URL of a running ComfyUI (default: a simulator)")
    parser.add_argument("--rounds", type=int, help=f"rounds of each kind ({ROUNDS})")
    options = parser.parse_args()
    instance = describe_instance(options.instance)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        base = Path(directory)
        url = options.instance
        if url is None:
            url = stack.enter_context(run_simulator(base / "instance")).url
        port = find_free_port()
        environment = {
            "PIXELFACTORY_DATA_DIR": str(base / "service"),
            "PIXELFACTORY_WORKFLOWS_DIR": str(WORKFLOWS),
            "PIXELFACTORY_PUBLIC_URL": f"https://127.0.0.1:{port}",
        }
        log = base / "service" / "log"
        served = stack.enter_context(run_service("--instances", url, log=log, environment=environment))
        stack.enter_context(tls_front(base, port, served.url))
        scopes = ("graphs", "read", "generate")
        options_of_key = [word for scope in scopes for word in ("--scope", scope)]
        key = create_api_key(base / "service", *options_of_key)
        rows = compare(clients_of(url, served.url, f"127.0.0.1:{port}", key), options.rounds or ROUNDS)
    result = summarize(rows)
    print_results(result)
    if options.rounds is None:
        name = "own_graphs" if options.instance is None else "own_graphs_comfyui"
        save_results(name, {"instance": instance, **result})


@contextmanager
def tls_front(directory: Path, port: int, target: str) -> Iterator[None]:
    """Speak TLS at a port, and plain TCP to the service behind it; clients of this process trust it."""
    files, chain = generate_certificates("127.0.0.1"), directory / "front.pem"
    chain.write_text(files.certificate + files.key)
    authority = directory / "authority.pem"
    authority.write_text(files.authority)
    os.environ["SSL_CERT_FILE"] = str(authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    target_port = int(target.rpartition(":")[2])

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", target_port)
        # The streams report a task that was cancelled as a failure.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(copy(reader, back_writer), copy(back_reader, writer), return_exceptions=True)

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(join, "127.0.0.1", port, ssl=context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _end(server: asyncio.Server) -> None:
    """Stop listening, and end the connections."""
    server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def clients_of(instance: str, service: str, host: str, key: str) -> dict[str, Callable[[int], object]]:
    """Return what makes an image of a color, by the name of the client."""
    os.environ["COMFY_BASE_URL"] = service
    comfy, replicate = Comfy(api_key=key), ReplicateClient(api_token=key, base_url=service)
    os.environ |= {"FAL_RUN_HOST": f"{host}/fal", "FAL_QUEUE_RUN_HOST": f"{host}/fal/queue"}
    import fal_client  # which reads the variables once

    fal, files = fal_client.SyncClient(key=key), httpx.Client()

    def run_comfy(color: int) -> bytes:
        return bytes(comfy.run(Workflow(graph(color))).outputs[0].to_bytes())

    def run_replicate(color: int) -> bytes:
        fields = {"prompt": "x", "width": SIZE, "height": SIZE, "seed": color}
        files_made: Any = replicate.run(MODEL, input=fields)
        return bytes(files_made[0].read())

    def run_fal(color: int) -> bytes:
        size = {"width": SIZE, "height": SIZE}
        made = fal.subscribe(MODEL, {"prompt": "x", "image_size": size, "seed": color})
        return files.get(made["images"][0]["url"]).content

    return {
        BARE: lambda color: asyncio.run(run_bare(instance, graph(color))),
        "comfy_sdk.run": run_comfy,
        "replicate.run": run_replicate,
        "fal subscribe": run_fal,
    }


def compare(clients: dict[str, Callable[[int], object]], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each run, by client."""
    rows: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(rounds + WARM_UP):
        for name in random.sample(list(clients), len(clients)):
            took = measure(clients[name], random.randrange(0xFFFFFF))
            if number >= WARM_UP:
                rows[name].append(took)
    return rows


def summarize(rows: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians, best times, and what each client adds to the bare one in the same round."""
    bare = rows[BARE]
    return {
        name: {
            "median_ms": round(statistics.median(values), 1),
            "best_ms": round(min(values), 1),
            "ratio": round(statistics.median(values) / statistics.median(bare), 2),
            "added_ms": round(statistics.median(map(float.__sub__, values, bare)), 1),
        }
        for name, values in rows.items()
    }


def print_results(result: dict[str, Any]) -> None:
    """Print one line per client."""
    for name, row in result.items():
        print(
            f"{name:16} median {row['median_ms']:7.1f} ms, best {row['best_ms']:7.1f} ms,"
            f" {row['ratio']:5.2f} times the bare client, +{row['added_ms']:.1f} ms"
        )


if __name__ == "__main__":
    main()

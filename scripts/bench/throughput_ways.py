"""The callers of `throughput.py`: of the service, of a relay, of the instances themselves, and of a floor."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import aiohttp
from minio import Minio
from yarl import URL

from orchestrator.catalog import Catalog
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR

MODEL = "flux-1-schnell"
BUCKET = "bench-floor"
#: Makes an image for the caller with this number.
Make = Callable[[int], Awaitable[None]]


@asynccontextmanager
async def service_caller(url: str, key: str, response_format: str) -> AsyncIterator[Make]:
    """Make images through the service; a URL is not opened."""
    seeds = iter(random.Random().sample(range(2**40), 200_000))
    body = {"model": MODEL, "prompt": "a lighthouse at dusk", "size": "256x256", "quality": "auto"}
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(url, connector=connector, headers=headers) as http:

        async def make(_: int) -> None:
            asked = {**body, "seed": next(seeds), "response_format": response_format}
            async with http.post("/v1/images/generations", json=asked) as response:
                data = await response.read()
                if response.status != 200:
                    raise RuntimeError(f"{response.status}: {data[:300]!r}")

        yield make


@asynccontextmanager
async def relay_caller(url: str) -> AsyncIterator[Make]:
    """Make images through the relay, which gives the key of an image."""
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as http:

        async def make(_: int) -> None:
            async with http.post("/", json={"model": MODEL, "prompt": "a lighthouse at dusk"}) as response:
                response.raise_for_status()
                await response.read()

        yield make


@asynccontextmanager
async def bare_caller(urls: list[str], callers: int) -> AsyncIterator[Make]:
    """Make images as a program does that talks to the instances itself; each caller has a socket."""
    graph = Catalog.load(SHIPPED_WORKFLOWS_DIR)[MODEL]
    rendered = graph.render_graph(
        graph.example_params(width=256, height=256, seed=1), filename_prefix="bench"
    )
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        clients = [(urls[number % len(urls)], uuid4().hex) for number in range(callers)]
        sockets = [
            await http.ws_connect(f"{url}/ws?clientId={name}", max_msg_size=0) for url, name in clients
        ]

        async def make(number: int) -> None:
            url, name = clients[number]
            body = {"prompt": rendered, "client_id": name, "prompt_id": str(uuid4())}
            async with http.post(f"{url}/prompt", json=body) as response:
                await response.read()
            images: list[dict[str, str]] = []
            async for message in sockets[number]:
                event = json.loads(message.data)
                if event["type"] == "executed":
                    images += event["data"]["output"].get("images", [])
                if event["type"] == "execution_success":
                    break
            for image in images:
                async with http.get(f"{url}/view", params=image) as response:
                    base64.b64encode(await response.read())

        yield make
        for socket in sockets:
            await socket.close()


@asynccontextmanager
async def floor_caller(directory: Path, s3: Mapping[str, str], picture: bytes) -> AsyncIterator[Make]:
    """Do what cannot be left out: two flushed transactions, each shared with what waits, and one PUT."""
    url = URL(s3["endpoint"])
    storage = Minio(f"{url.host}:{url.port}", s3["access_key"], s3["secret_key"], secure=False)
    if not storage.bucket_exists(BUCKET):
        storage.make_bucket(BUCKET)
    database = sqlite3.connect(directory / "floor.db", check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, body TEXT)")
    waiting: asyncio.Queue[tuple[str, asyncio.Future[None]]] = asyncio.Queue()

    def write(names: list[str]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO rows VALUES (?, ?)", [(name, "x" * 300) for name in names])
        database.execute("COMMIT")

    async def run_writer() -> None:
        while True:
            batch = [await waiting.get()]
            while not waiting.empty():
                batch.append(waiting.get_nowait())
            await asyncio.to_thread(write, [name for name, _ in batch])
            for _, done in batch:
                done.set_result(None)

    async def commit() -> None:
        done = asyncio.get_running_loop().create_future()
        await waiting.put((uuid4().hex, done))
        await done

    writer = asyncio.create_task(run_writer())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def make(_: int) -> None:
            await commit()
            target = storage.presigned_put_object(BUCKET, f"{uuid4().hex}.png", timedelta(minutes=5))
            async with http.put(URL(target, encoded=True), data=picture) as response:
                response.raise_for_status()
            await commit()

        yield make
    writer.cancel()
    database.close()

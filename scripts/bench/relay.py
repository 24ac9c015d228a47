"""A relay: it talks to callers and instances as the service does for an image, and does nothing else.

    python -m scripts.bench.relay --port 8000 --instances URL,URL

The S3 server and its credentials are in RELAY_S3_ENDPOINT, RELAY_S3_ACCESS_KEY and RELAY_S3_SECRET_KEY. There
are no checks, prices, retries, queue and database: what the relay costs are aiohttp, websockets, JSON and the
signature of a request, of which an orchestrator in Python needs as much.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aiohttp
from aiohttp import web
from minio import Minio
from websockets.asyncio.client import connect
from yarl import URL

from comfy_instances.protocol.delivery import ENCODED_EVENT, replace_savers
from orchestrator.catalog import Catalog
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR

MODEL = "flux-1-schnell"
BUCKET = "bench-relay"
_HEADERS = {"X-Pixel-Factory-Delivery": "1"}


@dataclass(slots=True)
class Run:
    """A prompt. The messages that it has ended and that its file is encoded come in any order."""

    ended: asyncio.Event = field(default_factory=asyncio.Event)
    encoded: asyncio.Event = field(default_factory=asyncio.Event)
    revision: int = 0
    file: Mapping[str, Any] = field(default_factory=dict)


class Instance:
    """One instance, with a socket and what runs on it."""

    def __init__(self, url: str, http: aiohttp.ClientSession, storage: Minio) -> None:
        self._url = url
        self._http = http
        self._storage = storage
        self._client_id = uuid4().hex
        self._runs: dict[str, Run] = {}
        #: Set while messages are read.
        self.is_connected = False
        self._ended: deque[str] = deque()
        self._is_forgetting = False

    async def listen(self) -> None:
        """Read the messages of the instance."""
        address = f"{self._url.replace('http', 'ws', 1)}/ws?clientId={self._client_id}"
        async with connect(address, max_size=None, compression=None) as socket:
            self.is_connected = True
            try:
                async for frame in socket:
                    self._handle(json.loads(frame))
            finally:
                self.is_connected = False

    def _handle(self, event: Mapping[str, Any]) -> None:
        run = self._runs.get(event["data"].get("prompt_id"))
        if run is None:
            return
        if event["type"] == ENCODED_EVENT:
            (run.file,), run.revision = event["data"]["files"], event["data"]["revision"]
            run.encoded.set()
        elif event["type"] == "execution_success":
            run.ended.set()

    async def make_image(self, graph: Mapping[str, Any]) -> str:
        """Run a graph and have its image stored; return the key of the image."""
        prompt_id = str(uuid4())
        run = self._runs[prompt_id] = Run()
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": self._client_id}
        try:
            await self._post("prompt", body)
            await run.ended.wait()
            await run.encoded.wait()
        finally:
            del self._runs[prompt_id]
        file = run.file
        key = f"outputs/{prompt_id}/{file['sha256']}.png"
        url = self._storage.presigned_put_object(BUCKET, key, timedelta(minutes=5))
        digest = base64.b64encode(bytes.fromhex(file["md5"])).decode()
        grant = {"url": url, "headers": {"Content-Type": file["content_type"], "Content-MD5": digest}}
        asked = {"after": run.revision, "wait": 5.0, "grants": {str(file["item"]): grant}}
        found = await self._post(f"pixelfactory/delivery/{prompt_id}", asked)
        if found["files"][0]["state"] != "stored":
            raise RuntimeError(f"not stored: {found['files'][0]['error']}")
        self._ended.append(prompt_id)
        return key

    async def forget_ended(self) -> None:
        """Have the instance forget the prompts that have ended, all in one request."""
        if self._is_forgetting:
            return
        self._is_forgetting = True
        try:
            while self._ended:
                prompts = [self._ended.popleft() for _ in range(len(self._ended))]
                await self._post("pixelfactory/ended", {"prompts": prompts})
        finally:
            self._is_forgetting = False

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async with self._http.post(f"{self._url}/{path}", json=body, headers=_HEADERS) as response:
            response.raise_for_status()
            return dict(await response.json(content_type=None) or {})


class Relay:
    """The server."""

    def __init__(self, urls: list[str], storage: Minio) -> None:
        self._urls = urls
        self._storage = storage
        model = Catalog.load(SHIPPED_WORKFLOWS_DIR)[MODEL]
        params = model.example_params(width=256, height=256, seed=1)
        rendered = model.render_graph(params, filename_prefix="relay")
        self._graph = replace_savers(rendered, [output.node for output in model.outputs])
        self._instances: list[Instance] = []
        #: Each of them in its turn.
        self._turns: Iterator[Instance] = iter(())
        self._tasks: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        app = web.Application()
        app.cleanup_ctx.append(self._connect)
        app.add_routes([web.get("/readyz", self._is_ready), web.post("/", self._make_image)])
        return app

    async def _connect(self, _: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
            self._instances = [Instance(url, http, self._storage) for url in self._urls]
            self._turns = itertools.cycle(self._instances)
            listeners = [asyncio.create_task(one.listen()) for one in self._instances]
            yield
            for task in listeners:
                task.cancel()

    async def _is_ready(self, _: web.Request) -> web.Response:
        is_ready = all(one.is_connected for one in self._instances)
        return web.Response(status=200 if is_ready else 503)

    async def _make_image(self, request: web.Request) -> web.Response:
        await request.json()
        instance = next(self._turns)
        key = await instance.make_image(self._graph)
        task = asyncio.create_task(instance.forget_ended())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return web.json_response({"data": [{"url": key}]})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--instances", required=True, help="their URLs, separated by commas")
    options = parser.parse_args()
    endpoint = URL(os.environ["RELAY_S3_ENDPOINT"])
    keys = os.environ["RELAY_S3_ACCESS_KEY"], os.environ["RELAY_S3_SECRET_KEY"]
    storage = Minio(f"{endpoint.host}:{endpoint.port}", *keys, secure=False, region="us-east-1")
    if not storage.bucket_exists(BUCKET):
        storage.make_bucket(BUCKET)
    app = Relay(options.instances.split(","), storage).application()
    with suppress(KeyboardInterrupt):
        web.run_app(app, host="127.0.0.1", port=options.port, access_log=None, print=None)


if __name__ == "__main__":
    main()

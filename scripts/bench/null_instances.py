"""Instances that cost nothing: they speak ComfyUI's protocol, and answer each prompt with a stored picture.

    python -m scripts.bench.null_instances --facts-from URL --count 32 --picture FILE [--old-way] \
        [--job-seconds 1]

One process serves all ports, which it prints in one line when it is ready. Node facts and names of weight
files are those of the server at `--facts-from`. Each picture differs from the others in a text chunk, so
that each is an object of its own. With the node pack among the facts, pictures are put into object storage
by the instance, as the pack does it; `--old-way` leaves the pack out of the facts, and the service
downloads them. With `--job-seconds` a port runs its prompts one after the other, and each takes so long.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import struct
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from comfy_instances.protocol.delivery import FILES_CLASS, IMAGES_CLASS, PROTOCOL
from comfy_instances.simulator.deliveries import SimulatedDeliveries, SimulatedFile
from comfy_instances.simulator.nodes.files.png import add_chunk
from comfy_instances.simulator.server.delivery_routes import DeliveryRoutes
from comfy_instances.tasks import spawn

_SAVERS = ("SaveImage", IMAGES_CLASS)


class NullInstances:
    """The state of all ports. Prompt and client ids are unique, so that one state serves them all."""

    def __init__(
        self, facts: dict[str, bytes], picture: bytes, size: tuple[int, int], job_seconds: float = 0.0
    ) -> None:
        """`facts` has the bodies of constant responses by path; `size` is the picture's width and height."""
        self._job_seconds = job_seconds
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._runs: set[asyncio.Task[None]] = set()
        self._facts = facts
        self._picture = picture
        self._size = size
        self._numbers = itertools.count()
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._history: dict[str, dict[str, Any]] = {}
        self._pictures: dict[str, bytes] = {}
        self._folder = tempfile.TemporaryDirectory()
        self._deliveries = SimulatedDeliveries(Path(self._folder.name), self._send)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=2**26)
        app.on_cleanup.append(self._close)
        app.add_routes(DeliveryRoutes(self._deliveries, self._history).routes())
        app.add_routes(
            [
                web.get("/ws", self._listen),
                web.post("/prompt", self._accept_prompt),
                web.get("/queue", self._get_queue),
                web.get("/history/{id}", self._get_history),
                web.post("/history", self._delete_history),
                web.get("/view", self._view),
                *(web.post(path, self._accept) for path in ("/queue", "/interrupt", "/free")),
                web.get("/{path:.*}", self._get_fact),
            ]
        )
        return app

    async def _close(self, _: web.Application) -> None:
        await self._deliveries.close()

    def _send(self, event: str, data: Any, client_id: str | None) -> None:
        socket = self._sockets.get(client_id or "")
        if socket is not None:
            message = json.dumps({"type": event, "data": data})
            spawn(socket.send_str(message), "message", event, group=self._runs)

    async def _get_fact(self, request: web.Request) -> web.Response:
        body = self._facts.get(request.path)
        if body is None:
            raise web.HTTPNotFound
        return web.Response(body=body, content_type="application/json")

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        client_id = request.query["clientId"]
        self._sockets[client_id] = socket
        status = {"status": {"exec_info": {"queue_remaining": 0}}, "sid": client_id}
        await socket.send_json({"type": "status", "data": status})
        async for _ in socket:
            pass
        return socket

    async def _accept_prompt(self, request: web.Request) -> web.Response:
        """Accept a prompt. One that takes no time has ended before its answer."""
        body = await request.json()
        if not self._job_seconds:
            await self._run(body)
        else:
            assert request.transport is not None
            port = request.transport.get_extra_info("sockname")[1]
            task = asyncio.create_task(self._run_in_turn(body, self._turns[port]))
            self._runs.add(task)
            task.add_done_callback(self._runs.discard)
        return web.json_response({"prompt_id": body["prompt_id"], "number": 0, "node_errors": {}})

    async def _run_in_turn(self, body: dict[str, Any], turn: asyncio.Lock) -> None:
        async with turn:
            await asyncio.sleep(self._job_seconds)
            await self._run(body)

    async def _run(self, body: dict[str, Any]) -> None:
        """Send all messages of a prompt, as ComfyUI does for a graph that takes no time."""
        prompt_id, graph = body["prompt_id"], body["prompt"]
        outputs = {
            node: self._make_output(body, node, entry["class_type"])
            for node, entry in graph.items()
            if entry["class_type"] in _SAVERS
        }
        times = {"prompt_id": prompt_id, "timestamp": 1_000_000}
        self._history[prompt_id] = {
            "prompt": [0, prompt_id, graph, {"client_id": body["client_id"]}, [*outputs]],
            "outputs": outputs,
            "status": {
                "status_str": "success",
                "completed": True,
                "messages": [["execution_start", times], ["execution_success", times]],
            },
        }
        socket = self._sockets.get(body["client_id"])
        if socket is not None:
            for event, data in self._messages(times, graph, outputs):
                await socket.send_str(json.dumps({"type": event, "data": data}))

    def _messages(
        self, times: dict[str, Any], graph: dict[str, Any], outputs: dict[str, Any]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        prompt_id = times["prompt_id"]
        yield "execution_start", times
        yield "execution_cached", {**times, "nodes": []}
        for node in graph:
            yield "executing", {"prompt_id": prompt_id, "node": node, "display_node": node}
            if node in outputs:
                yield "executed", {
                    "prompt_id": prompt_id, "node": node, "display_node": node, "output": outputs[node],
                }  # fmt: skip
        yield "execution_success", times
        yield "executing", {"prompt_id": prompt_id, "node": None}

    def _make_output(self, body: dict[str, Any], node: str, kind: str) -> dict[str, Any]:
        prompt_id, client_id = body["prompt_id"], body["client_id"]
        data = add_chunk(self._picture, b"tEXt", f"number\0{next(self._numbers)}".encode())
        if kind == IMAGES_CLASS:
            width, height = self._size
            file = SimulatedFile(node=node, data=data, content_type="image/png", width=width, height=height)
            self._deliveries.add(prompt_id, client_id, [file])
            return {"pixel_factory": [{"delivery": PROTOCOL, "files": []}]}
        name = f"{prompt_id}-{node}.png"
        self._pictures[name] = data
        return {"images": [{"filename": name, "subfolder": "", "type": "output"}]}

    async def _get_queue(self, request: web.Request) -> web.Response:
        return web.json_response({"queue_running": [], "queue_pending": []})

    async def _get_history(self, request: web.Request) -> web.Response:
        found = self._history.get(request.match_info["id"])
        return web.json_response({} if found is None else {request.match_info["id"]: found})

    async def _delete_history(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json()).get("delete", ()):
            self._history.pop(prompt_id, None)
        return web.Response()

    async def _view(self, request: web.Request) -> web.Response:
        """Return a picture, once: no client asks for it again."""
        data = self._pictures.pop(request.query["filename"], None)
        if data is None:
            raise web.HTTPNotFound
        return web.Response(body=data, content_type="image/png")

    async def _accept(self, request: web.Request) -> web.Response:
        return web.Response()


async def read_facts(url: str, *, old_way: bool) -> dict[str, bytes]:
    """Return the constant responses of a server by path: node facts, statistics, names of model files."""
    async with aiohttp.ClientSession(url) as http:

        async def read(path: str) -> bytes:
            async with http.get(path) as response:
                response.raise_for_status()
                return await response.read()

        facts = {path: await read(path) for path in ("/system_stats", "/object_info", "/models")}
        for folder in json.loads(facts["/models"]):
            facts[f"/models/{folder}"] = await read(f"/models/{folder}")
    if old_way:
        classes = json.loads(facts["/object_info"])
        kept = {name: entry for name, entry in classes.items() if name not in (IMAGES_CLASS, FILES_CLASS)}
        facts["/object_info"] = json.dumps(kept).encode()
    return facts


async def _serve(options: argparse.Namespace) -> None:
    picture = options.picture.read_bytes()
    width, height = struct.unpack(">II", picture[16:24])
    facts = await read_facts(options.facts_from, old_way=options.old_way)
    instances = NullInstances(facts, picture, (width, height), options.job_seconds)
    runner = web.AppRunner(instances.application(), access_log=None)
    await runner.setup()
    for _ in range(options.count):
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(*(address[1] for address in runner.addresses), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--facts-from", required=True, metavar="URL")
    parser.add_argument("--count", type=int, default=32, help="of ports")
    parser.add_argument("--picture", required=True, type=Path, help="a PNG")
    parser.add_argument("--job-seconds", type=float, default=0.0, help="that a prompt takes (%(default)s)")
    parser.add_argument("--old-way", action="store_true", help="without the node pack")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()

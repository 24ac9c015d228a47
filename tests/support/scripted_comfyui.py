"""A real HTTP and websocket server that says on its routes exactly what a test tells it to.

It keeps a queue and a history as ComfyUI does, but runs nothing: the test begins and ends each prompt, and
chooses what is said of it, late, in part or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from comfy_instances.session.session import FileRef, NodeOutput
from tests.support.polling import wait_until

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: What tests send, what its saver shows, and what the session makes of that.
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "pf"}},
}
PICTURE = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}
FILE = NodeOutput("2", "images", FileRef("a.png"))


@dataclass
class ScriptedPrompt:
    """One prompt as it was posted."""

    id: str
    graph: dict[str, Any]
    client_id: str

    @property
    def row(self) -> list[Any]:
        return [0, self.id, self.graph, {"client_id": self.client_id}, []]


@dataclass
class ScriptedComfyUI:
    """Routes in `answers` ("POST /prompt") are answered by the test's own handler instead."""

    answers: dict[str, Handler] = field(default_factory=dict)
    pending: dict[str, ScriptedPrompt] = field(default_factory=dict)
    running: dict[str, ScriptedPrompt] = field(default_factory=dict)
    history: dict[str, Any] = field(default_factory=dict)
    sockets: dict[str, web.WebSocketResponse] = field(default_factory=dict)
    #: Every request but the sockets', in order: "GET /queue".
    requests: list[str] = field(default_factory=list)
    #: The client ids of all sockets that were ever opened, in order.
    client_ids: list[str] = field(default_factory=list)
    #: What clients said on their sockets, in order.
    told: list[str] = field(default_factory=list)
    #: The connections of all open sockets.
    transports: list[asyncio.Transport] = field(default_factory=list)
    #: `/interrupt` ends a running prompt at once.
    obeys: bool = True
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to serve, with nothing known of earlier prompts; at the former port, if there was one."""
        self.pending, self.running, self.history = {}, {}, {}
        app = web.Application(middlewares=[self._note])
        app.router.add_get("/ws", self._socket)
        app.router.add_post("/prompt", self.take_prompt)
        app.router.add_get("/queue", self._get_queue)
        app.router.add_post("/queue", self._post_queue)
        app.router.add_post("/interrupt", self._interrupt)
        app.router.add_get("/history/{id}", self.get_history)
        app.router.add_post("/history", self._post_history)
        app.router.add_route("*", "/{other}", self._nothing)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """As a killed process does: no farewell on any connection, and nobody listens any more."""
        self.drop_sockets()
        await self._runner.cleanup()

    def drop_sockets(self) -> None:
        """Cut the connections of all sockets."""
        for transport in self.transports:
            transport.abort()
        self.transports.clear()
        self.sockets.clear()

    def deafen(self) -> None:
        """The sockets stay open and hear nothing more, as when an old one of the same id ends late."""
        self.sockets.clear()

    async def posted(self, count: int = 1) -> list[ScriptedPrompt]:
        """Wait until so many prompts wait or run."""
        return await eventually(lambda: [*self.running.values(), *self.pending.values()], count)

    async def say(self, prompt: ScriptedPrompt, type_: str, **data: Any) -> None:
        """One message about a prompt, to whoever sent it, if they can hear."""
        socket = self.sockets.get(prompt.client_id)
        if socket is not None:
            await socket.send_json({"type": type_, "data": {"prompt_id": prompt.id, **data}})

    async def begin(self, prompt: ScriptedPrompt) -> None:
        self.running[prompt.id] = self.pending.pop(prompt.id)
        await self.say(prompt, "execution_start", timestamp=1_000_000)

    async def end(
        self, prompt: ScriptedPrompt, word: str = "execution_success", outputs: Any = None, **data: Any
    ) -> None:
        """Put the prompt into history with these outputs by node, then say the last word about it."""
        began = {"prompt_id": prompt.id, "timestamp": 1_000_000}
        last = {"prompt_id": prompt.id, "timestamp": 1_002_500, **data}
        self.running.pop(prompt.id, None)
        self.pending.pop(prompt.id, None)
        self.history[prompt.id] = {
            "prompt": prompt.row,
            "outputs": outputs or {},
            "status": {
                "status_str": "success" if word == "execution_success" else "error",
                "messages": [["execution_start", began], [word, last]],
            },
        }
        await self.say(prompt, word, **last)

    @web.middleware
    async def _note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        name = f"{request.method} {request.path}"
        if request.path != "/ws":
            self.requests.append(name)
        return await self.answers.get(name, handler)(request)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client_id = request.query["clientId"]
        self.sockets[client_id] = socket
        self.client_ids.append(client_id)
        if request.transport is not None:
            self.transports.append(request.transport)
        await socket.send_json({"type": "status", "data": {"sid": client_id}})
        async for message in socket:
            self.told.append(str(message.data))
        return socket

    async def take_prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        prompt = ScriptedPrompt(body["prompt_id"], body["prompt"], body["client_id"])
        self.pending[prompt.id] = prompt
        return web.json_response({"prompt_id": prompt.id, "number": 0, "node_errors": {}})

    async def _get_queue(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "queue_running": [prompt.row for prompt in self.running.values()],
                "queue_pending": [prompt.row for prompt in self.pending.values()],
            }
        )

    async def _post_queue(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json())["delete"]:
            self.pending.pop(prompt_id, None)
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        prompt = self.running.get((await request.json())["prompt_id"])
        if prompt is not None and self.obeys:
            await self.end(prompt, "execution_interrupted", node_id="1", node_type="EmptyImage")
        return web.Response()

    async def get_history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        found = self.history.get(prompt_id)
        return web.json_response({} if found is None else {prompt_id: found})

    async def _post_history(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json())["delete"]:
            self.history.pop(prompt_id, None)
        return web.Response()

    async def _nothing(self, request: web.Request) -> web.Response:
        return web.Response(status=404)


async def eventually(read: Callable[[], list[Any]], count: int) -> list[Any]:
    """Wait until `read` gives at least so many items."""
    await wait_until(lambda: len(read()) >= count)
    return read()

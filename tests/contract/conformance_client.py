"""A bare client of a ComfyUI-like server, and what is compared of what it hears."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp

Graph = dict[str, Any]

#: Values that count; of all others only the type does.
KEPT = frozenset({
    "type", "state", "node", "display_node", "node_id", "node_type", "class_type", "status_str", "status",
    "completed", "queue_remaining", "filename", "subfolder", "name", "exception_type", "input_name",
    "dependent_outputs", "nodes", "executed", "animated", "value", "max", "image_type", "outputs_count",
    "previewable_outputs_count", "mediaType", "nodeId", "cancelled", "has_more", "total", "limit", "offset",
    "real_node_id", "display_node_id", "parent_node_id", "linked_node", "received_type", "received_value",
    "cycle_nodes", "text",
})  # fmt: skip
#: Values of which not even the inner shape counts: they hold tooltips, paths, versions.
OPAQUE = frozenset({"input_config", "traceback", "workflow"})


def shape(value: Any, key: str = "") -> Any:
    """A value with all that differs from run to run and machine to machine taken out."""
    if key in OPAQUE and value is not None:
        return type(value).__name__
    if key == "current_outputs":
        return sorted(value)
    if isinstance(value, dict):
        return {name: shape(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item, key) for item in value]
    if key in KEPT or value is None or isinstance(value, bool):
        return value
    return "number" if isinstance(value, int | float) else type(value).__name__


def frame(data: bytes) -> dict[str, Any]:
    """What a binary message carries."""
    (event,) = struct.unpack_from(">I", data)
    if event == 1:
        return {"binary": "preview", "format": struct.unpack_from(">I", data, 4)[0], "is": _kind(data[8:])}
    (length,) = struct.unpack_from(">I", data, 4)
    head, rest = data[8 : 8 + length], data[8 + length :]
    if event == 3:
        return {"binary": "text", "node": head.decode(), "text": rest.decode()}
    return {"binary": event, "metadata": shape(json.loads(head)), "is": _kind(rest)}


def _kind(picture: bytes) -> str:
    return {b"\xff\xd8": "JPEG", b"\x89P": "PNG"}.get(picture[:2], "?")


class ConformanceClient:
    """One user with one socket."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http
        self.client_id = uuid4().hex
        self.socket: aiohttp.ClientWebSocketResponse | None = None

    async def connect(self, flags: dict[str, Any] | None = None) -> None:
        address = f"{self.url}/ws?clientId={self.client_id}"
        self.socket = await self.http.ws_connect(address, max_msg_size=0, autoping=False)
        if flags is not None:
            await self.socket.send_json({"type": "feature_flags", "data": flags})

    async def disconnect(self) -> None:
        if self.socket is not None:
            await self.socket.close()
            self.socket = None

    async def round_trip(self) -> None:
        """Two requests after each other: the server's loop has run what it was about to run before them."""
        for _ in range(2):
            await self.get("/queue")

    async def hear(self) -> Any:
        """The next message as it came: a dict, or the bytes of a binary one."""
        message = await self._receive()
        while message.type is aiohttp.WSMsgType.PONG:
            message = await self._receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return json.loads(message.data)
        if message.type is aiohttp.WSMsgType.BINARY:
            return message.data
        raise ConnectionError(f"the socket ended: {message.type.name}")

    async def hear_what_was_sent(self) -> Any:
        """The next message that the server has sent already; None if there is none.

        The server answers a ping behind everything that it sent before.
        """
        if self.socket is None:
            raise RuntimeError("not connected")
        await self.socket.ping()
        message = await self._receive()
        return None if message.type is aiohttp.WSMsgType.PONG else message.data

    async def _receive(self) -> aiohttp.WSMessage:
        if self.socket is None:
            raise RuntimeError("not connected")
        message = await self.socket.receive(timeout=60)
        while message.type is aiohttp.WSMsgType.PING:
            await self.socket.pong(message.data)
            message = await self.socket.receive(timeout=60)
        return message

    async def hear_until(self, event: str, **data: Any) -> list[Any]:
        """Shapes of all messages up to the one of that type that carries `data`."""
        heard: list[Any] = []
        while True:
            message = await self.hear()
            if isinstance(message, bytes):
                heard.append(frame(message))
                continue
            heard.append([message["type"], shape(message["data"])])
            if message["type"] == event and data.items() <= message["data"].items():
                return heard

    async def arm_simulator_fault(self, kind: str) -> None:
        """Arm a fault for the next prompt. A real ComfyUI has no such route and responds with an error."""
        await self.post("/simulator/faults", {"kind": kind})

    async def hear_to_end(self, prompt_id: str) -> list[Any]:
        return await self.hear_until("executing", node=None, prompt_id=prompt_id)

    async def submit(self, graph: Graph, **more: Any) -> str:
        """The id of the accepted prompt."""
        body = {"prompt": graph, "client_id": self.client_id, "prompt_id": str(uuid4())} | more
        status, answer = await self.post("/prompt", body)
        if status != 200:
            raise AssertionError(f"{status}: {answer}")
        return str(answer["prompt_id"])

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with self.http.post(self.url + path, json=body) as response:
            return response.status, await _content(response)

    async def get(self, path: str, **query: Any) -> tuple[int, Any]:
        async with self.http.get(self.url + path, params=query) as response:
            return response.status, await _content(response)

    async def upload(self, name: str, data: bytes, route: str = "image", **fields: str) -> tuple[int, Any]:
        form = aiohttp.FormData()
        form.add_field("image", data, filename=name, content_type="image/png")
        for key, value in fields.items():
            form.add_field(key, value)
        async with self.http.post(f"{self.url}/upload/{route}", data=form) as response:
            return response.status, await _content(response)

    async def finished(self, prompt_id: str) -> dict[str, Any]:
        """The prompt's history entry, once there is one."""
        for _ in range(600):
            _, history = await self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                entry: dict[str, Any] = history[prompt_id]
                return entry
            await asyncio.sleep(0.05)
        raise TimeoutError(prompt_id)


async def _content(response: aiohttp.ClientResponse) -> Any:
    if response.content_type == "application/json":
        return await response.json()
    return await response.read()


@asynccontextmanager
async def client(url: str, *, connected: bool = True) -> AsyncIterator[ConformanceClient]:
    async with aiohttp.ClientSession() as http:
        one = ConformanceClient(url, http)
        if connected:
            await one.connect()
            await one.hear()
        try:
            yield one
        finally:
            await one.disconnect()

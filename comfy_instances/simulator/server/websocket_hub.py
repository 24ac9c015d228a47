"""Websockets by client id, and the single queue of messages to all of them."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import WSMsgType, web

log = logging.getLogger(__name__)

#: Binary event types: an image, a line of text, and an image with the ids of its node.
PREVIEW_IMAGE, PROGRESS_TEXT, PREVIEW_IMAGE_WITH_METADATA = 1, 3, 4
#: Format codes in a PREVIEW_IMAGE event.
IMAGE_TYPE_CODES = {"JPEG": 1, "PNG": 2}

FEATURE_FLAGS: dict[str, Any] = {
    "supports_preview_metadata": True,
    "supports_model_type_tags": True,
    "max_upload_size": 100 * 1024 * 1024,
    "extension": {"manager": {"supports_v4": True}},
    "node_replacements": True,
    "assets": False,
}


@dataclass(frozen=True, slots=True)
class EncodedPreview:
    """A preview image, encoded for the websocket."""

    content: bytes
    #: `JPEG` or `PNG`.
    image_type: str
    #: The ids of the node that shows it.
    node_ids: dict[str, Any]

    def to_frame(self) -> bytes:
        return struct.pack(">II", PREVIEW_IMAGE, IMAGE_TYPE_CODES[self.image_type]) + self.content

    def to_frame_with_metadata(self) -> bytes:
        header = json.dumps(self.node_ids | {"image_type": f"image/{self.image_type.lower()}"}).encode()
        return struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(header)) + header + self.content


@dataclass(slots=True)
class _WebsocketClient:
    socket: web.WebSocketResponse
    request: web.Request
    feature_flags: dict[str, Any] = field(default_factory=dict)


class WebsocketHub:
    """Sends messages one at a time: a client that does not read stalls all others, as in ComfyUI.

    Call its methods on the event loop; the worker thread uses `call_soon_threadsafe`.
    """

    def __init__(self, queue_info: Callable[[], dict[str, Any]]) -> None:
        self._queue_info = queue_info
        self._clients: dict[str, _WebsocketClient] = {}
        self._outgoing: asyncio.Queue[tuple[str | bytes, str | None]] = asyncio.Queue()
        #: The client whose prompt runs or ran last, and the current node.
        self._current_node: tuple[str | None, str | None] = (None, None)

    def set_current_node(self, client_id: str | None, node_id: str | None) -> None:
        """Record the current node of the running prompt, for a client that reconnects."""
        self._current_node = (client_id, node_id)

    def send(self, event: str, data: Any, client_id: str | None) -> None:
        """Queue a message for one client, or for all if `client_id` is None."""
        self._outgoing.put_nowait((json.dumps({"type": event, "data": data}), client_id))

    def send_status(self) -> None:
        self.send("status", {"status": self._queue_info()}, None)

    def send_progress(
        self, progress: dict[str, Any], preview: EncodedPreview | None, client_id: str | None
    ) -> None:
        """Queue a `progress` message and its preview.

        A client that supports metadata gets the preview with node ids before the message; any other
        client gets the image alone after it.
        """
        if preview is not None and self._supports_preview_metadata(client_id):
            self._outgoing.put_nowait((preview.to_frame_with_metadata(), client_id))
        self.send("progress", progress, client_id)
        if preview is not None and not self._supports_preview_metadata(client_id):
            self._outgoing.put_nowait((preview.to_frame(), client_id))

    def send_text(self, text: str, node_id: str) -> None:
        """Queue a line of text to show at a node, for all clients."""
        name = node_id.encode()
        self._outgoing.put_nowait((struct.pack(">II", PROGRESS_TEXT, len(name)) + name + text.encode(), None))

    def _supports_preview_metadata(self, client_id: str | None) -> bool:
        client = self._clients.get(client_id or "")
        return client is not None and client.feature_flags.get("supports_preview_metadata") is True

    async def deliver_messages(self) -> None:
        """Deliver queued messages until cancelled."""
        while True:
            message, client_id = await self._outgoing.get()
            if client_id is None:
                receivers = list(self._clients.values())
            else:
                receivers = [self._clients[client_id]] if client_id in self._clients else []
            for client in receivers:
                await _send_if_connected(client.socket, message)

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Serve `GET /ws`. A new socket takes over a client id; the id is removed when the old one closes."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = request.query.get("clientId") or uuid4().hex
        self._clients[sid] = client = _WebsocketClient(socket, request)
        try:
            await _send_if_connected(
                socket, _format_event("status", {"status": self._queue_info(), "sid": sid})
            )
            owner, node = self._current_node
            if owner == sid and node is not None:
                await _send_if_connected(socket, _format_event("executing", {"node": node}))
            await self._receive_messages(client)
        finally:
            self._clients.pop(sid, None)
        return socket

    async def _receive_messages(self, client: _WebsocketClient) -> None:
        """Read feature flags from the first well-formed frame; ignore everything else."""
        first = True
        async for message in client.socket:
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                data = json.loads(message.data)
            except json.JSONDecodeError:
                log.warning("a client sent a frame that is not JSON")
                continue
            if first and isinstance(data, dict) and data.get("type") == "feature_flags":
                client.feature_flags = data.get("data", {})
                await _send_if_connected(client.socket, _format_event("feature_flags", FEATURE_FLAGS))
            first = False

    def disconnect(self, client_id: str | None) -> None:
        """Abort the connection of a client, or of all clients if `client_id` is None."""
        for sid, client in list(self._clients.items()):
            if client_id in (None, sid) and client.request.transport is not None:
                client.request.transport.abort()


def _format_event(event: str, data: Any) -> str:
    return json.dumps({"type": event, "data": data})


async def _send_if_connected(socket: web.WebSocketResponse, message: str | bytes) -> None:
    with suppress(ConnectionError):
        if isinstance(message, str):
            await socket.send_str(message)
        else:
            await socket.send_bytes(message)

"""The socket to one instance, kept open: it reads, parses, passes on, and reconnects when it breaks.

It knows nothing of prompts. What may have been missed while it was broken is its receiver's concern.
"""

from __future__ import annotations

import asyncio
import json
import logging
from random import Random
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from yarl import URL

from comfy_instances.protocol.message_parser import parse_frame
from comfy_instances.protocol.messages import Message
from comfy_instances.session.settings import SessionSettings

logger = logging.getLogger(__name__)

#: Asks for previews that name their prompt and node. Only the first frame on a socket may say so.
_FEATURE_FLAGS_FRAME = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 1.0


class SocketHandler(Protocol):
    """Whom a link reports to. All are called on the event loop and return at once."""

    @property
    def has_active_prompts(self) -> bool:
        """Whether messages to the present client id are still due."""

    def on_open(self) -> None:
        """The server knows the new socket; all it says from now on arrives."""

    def on_message(self, message: Message) -> None: ...

    def on_close(self) -> None:
        """The socket is gone; what the server says until `opened` is lost."""


class EventSocket:
    """`run()` is a task for the life of a session."""

    def __init__(self, url: URL, settings: SessionSettings, rng: Random, handler: SocketHandler) -> None:
        self._url = url
        self._settings = settings
        self._rng = rng
        self._handler = handler
        self._socket: ClientConnection | None = None
        self._open = asyncio.Event()
        self.client_id = self._new_client_id()

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    async def wait_open(self) -> None:
        await self._open.wait()

    async def reconnect(self, client_id: str | None = None) -> None:
        """Leave this socket for a new one, under another client id if one is given."""
        if client_id is not None:
            self.client_id = client_id
        if self._socket is not None:
            await self._socket.close()

    async def run(self) -> None:
        failures = 0
        while True:
            opened_at = asyncio.get_running_loop().time()
            try:
                await self._connect_and_read()
            except (OSError, WebSocketException) as error:
                logger.debug("socket of %s: %s", self._url, error or type(error).__name__)
            if asyncio.get_running_loop().time() - opened_at > self._settings.backoff_max_s:
                failures = 0
            await asyncio.sleep(self._backoff_seconds(failures))
            failures += 1

    async def _connect_and_read(self) -> None:
        """One socket, from its opening to its end."""
        if not self._handler.has_active_prompts:
            # When the server learns late of an old socket's end, it also drops the new one of that id.
            self.client_id = self._new_client_id()
        client_id = self.client_id
        scheme = "wss" if self._url.scheme == "https" else "ws"
        address = (self._url / "ws").with_scheme(scheme).with_query(clientId=client_id)
        async with connect(
            str(address),
            max_size=self._settings.max_frame_bytes,
            compression=None,
            proxy=None,
            open_timeout=_OPEN_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
        ) as socket:
            if client_id != self.client_id:
                return  # `reconnect` came while we knocked
            self._socket = socket
            try:
                await socket.send(_FEATURE_FLAGS_FRAME)
                await self._read_messages(socket)
            finally:
                self._socket = None
                if self._open.is_set():
                    self._open.clear()
                    self._handler.on_close()

    async def _read_messages(self, socket: ClientConnection) -> None:
        """The server's first word is proof that it has the socket on its list."""
        async for frame in socket:
            message = parse_frame(frame)
            if not self._open.is_set():
                self._open.set()
                self._handler.on_open()
            self._handler.on_message(message)

    def _backoff_seconds(self, failures: int) -> float:
        """Back-off with full jitter, so that many sessions do not come back in step."""
        ceiling = min(self._settings.backoff_max_s, self._settings.backoff_min_s * 2 ** min(failures, 16))
        return self._rng.uniform(0.0, ceiling)

    def _new_client_id(self) -> str:
        return f"{self._rng.getrandbits(128):032x}"

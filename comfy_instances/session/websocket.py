"""The websocket to one instance: reads and parses messages, hands them on, and reconnects when it breaks.

It knows nothing about prompts. Its `WebSocketHandler` finds out what was missed while the socket was closed.
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

from comfy_instances.backoff import backoff_delay
from comfy_instances.log_text import error_text
from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.protocol.message_parser import parse_frame
from comfy_instances.protocol.messages import Message
from comfy_instances.repeated_errors import RepeatedErrors
from comfy_instances.session.settings import SessionSettings
from comfy_instances.tasks import loop_time

logger = logging.getLogger(__name__)

#: Requests previews that name their prompt and node. The server reads it in the first frame of a socket only.
_FEATURE_FLAGS_FRAME = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 1.0


class WebSocketHandler(Protocol):
    """Receives the events of a socket. All methods are called on the event loop and must not block."""

    @property
    def has_active_prompts(self) -> bool:
        """Whether a prompt still expects messages under the current client id."""

    def on_open(self) -> None:
        """The server has registered the new socket; from now on no message is lost."""

    def on_message(self, message: Message) -> None: ...

    def on_close(self) -> None:
        """The socket is closed; messages sent before the next `on_open` are lost."""


class InstanceWebSocket:
    """One reconnecting websocket. `run()` is a task that lives as long as the session."""

    def __init__(self, url: URL, settings: SessionSettings, rng: Random, handler: WebSocketHandler) -> None:
        self._url = url
        self._settings = settings
        self._rng = rng
        self._handler = handler
        self._socket: ClientConnection | None = None
        self._open = asyncio.Event()
        self._closed = asyncio.Event()
        self._closed.set()
        self._abandoned = False
        #: How often the socket was opened.
        self.connections = 0
        self._errors = RepeatedErrors(logger, f"socket of {url}")
        self.client_id = self._new_client_id()

    @property
    def is_open(self) -> bool:
        return self._open.is_set() and not self._abandoned

    async def wait_open(self) -> None:
        """Wait until the socket is open. Raises InstanceGone once it was abandoned."""
        await self._open.wait()
        if self._abandoned:
            raise InstanceGone("the session was closed", self_inflicted=True)

    def abandon(self) -> None:
        """Fail those who wait for the socket: it will not open again."""
        self._abandoned = True
        self._open.set()

    async def wait_closed(self) -> None:
        """Wait until the socket closes; this also notices a socket that opens again at once."""
        await self._closed.wait()

    async def reconnect(self, client_id: str | None = None) -> None:
        """Close the current socket and open a new one, under `client_id` if given."""
        if client_id is not None:
            self.client_id = client_id
        if self._socket is not None:
            await self._socket.close()

    async def run(self) -> None:
        failures = 0
        while True:
            opened_at = loop_time()
            try:
                await self._connect_and_read()
                self._errors.clear()
            except (OSError, WebSocketException) as error:
                logger.debug("socket of %s: %s", self._url, error_text(error))
            except Exception as error:
                # A lack of memory or threads, or a message that our parser cannot read.
                self._errors.record(error)
            if loop_time() - opened_at > self._settings.backoff_max_s:
                failures = 0
            failures += 1
            await asyncio.sleep(self._jittered_delay(failures))

    async def _connect_and_read(self) -> None:
        """Open one socket and read it until it closes."""
        if not self._handler.has_active_prompts:
            # A server that notices the end of an old socket late also drops a new socket with the same id.
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
            additional_headers=self._settings.auth_headers,
        ) as socket:
            if client_id != self.client_id:
                return  # `reconnect` changed the id while the socket was opening
            self._socket = socket
            try:
                await socket.send(_FEATURE_FLAGS_FRAME)
                await self._read_messages(socket)
            finally:
                self._socket = None
                if self._open.is_set():
                    self._open.clear()
                    self._closed.set()
                    self._handler.on_close()

    async def _read_messages(self, socket: ClientConnection) -> None:
        """Hand on messages. The first one proves that the server has registered the socket."""
        async for frame in socket:
            message = parse_frame(frame)
            if not self._open.is_set():
                self._open.set()
                self._closed.clear()
                self.connections += 1
                self._handler.on_open()
            self._handler.on_message(message)

    def _jittered_delay(self, failures: int) -> float:
        """Return a delay with full jitter, so that many sessions do not reconnect at the same moment."""
        settings = self._settings
        longest = backoff_delay(failures, settings.backoff_min_s, settings.backoff_max_s)
        return self._rng.uniform(0.0, longest)

    def _new_client_id(self) -> str:
        return f"{self._rng.getrandbits(128):032x}"

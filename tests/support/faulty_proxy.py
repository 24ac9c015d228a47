"""A TCP proxy in front of a server: it can cut the websockets that pass through it, or silence them."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from tests.support.tcp_server import TcpServer

_CHUNK = 65536


class FaultyProxy:
    def __init__(self, port: int) -> None:
        self._upstream = port
        self._server = TcpServer(self._serve)
        self._sockets: list[asyncio.StreamWriter] = []
        self._loud = asyncio.Event()
        self._loud.set()
        #: Number of websockets that were ever opened.
        self.opened = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.speak()
        await self._server.stop()

    def cut(self) -> None:
        for writer in self._sockets:
            writer.transport.abort()
        self._sockets.clear()

    def silence(self) -> None:
        """Websockets stay open, and nothing comes out of them any more."""
        self._loud.clear()

    def speak(self) -> None:
        self._loud.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._server.close_at_end(up_writer)
        first = await reader.read(_CHUNK)
        is_socket = first.startswith(b"GET /ws")
        if is_socket:
            self.opened += 1
            self._sockets.append(writer)
        up_writer.write(first)
        await asyncio.gather(
            self._pump(reader, up_writer, None),
            self._pump(up_reader, writer, self._loud if is_socket else None),
        )

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None
    ) -> None:
        try:
            while data := await reader.read(_CHUNK):
                if gate is not None:
                    await gate.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

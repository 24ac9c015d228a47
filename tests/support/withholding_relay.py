"""A TCP relay in front of a server that can withhold the server's responses from its clients."""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType
from typing import Self

from tests.support.tcp_server import TcpServer

_CHUNK = 65536
#: So small that the kernel buffers little, and a large response stays in the server's process.
_RECEIVE_BUFFER_BYTES, _SEGMENT_BYTES = 2048, 536


class WithholdingRelay:
    """Relays connections to a port. A connection that fails on one side is closed on the other."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._server = TcpServer(self._serve)
        self._may_read = asyncio.Event()
        self._may_read.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        await self._server.stop()

    def withhold(self) -> None:
        """Read nothing of what the server sends."""
        self._may_read.clear()

    def release(self) -> None:
        """Relay responses again."""
        self._may_read.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = socket.socket()
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
        upstream.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(upstream, ("127.0.0.1", self._upstream))
            up_reader, up_writer = await asyncio.open_connection(sock=upstream, limit=_RECEIVE_BUFFER_BYTES)
        except OSError:
            upstream.close()
            writer.close()
            return
        self._server.close_at_end(up_writer)
        sending = asyncio.create_task(self._pump(reader, up_writer, None))
        try:
            await self._pump(up_reader, writer, self._may_read)
        finally:
            sending.cancel()
            for end in (writer, up_writer):
                end.close()

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, gate: asyncio.Event | None
    ) -> None:
        try:
            while True:
                if gate is not None:
                    await gate.wait()
                data = await source.read(_CHUNK)
                if not data:
                    return
                target.write(data)
                await target.drain()
        except OSError:
            return

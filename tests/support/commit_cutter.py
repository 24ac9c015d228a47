"""A TCP proxy in front of PostgreSQL that cuts a connection at a COMMIT, before or after it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

from tests.support.tcp_server import TcpServer

_CHUNK = 65536
#: How the protocol sends the statement.
_COMMIT = b"COMMIT\0"


class CommitCutter:
    def __init__(self, port: int) -> None:
        self._upstream = port
        self._server = TcpServer(self._serve)
        self._cut: Literal["before", "after"] | None = None

    @property
    def port(self) -> int:
        return self._server.port

    def cut_next(self, when: Literal["before", "after"]) -> None:
        """Cut the next connection that commits: before the server gets that, or before its answer arrives."""
        self._cut = when

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._server.close_at_end(up_writer)
        is_cut, committed = asyncio.Event(), asyncio.Event()
        answers = asyncio.create_task(self._answer(up_reader, writer, is_cut, committed))
        while data := await self._read(reader):
            if _COMMIT in data and self._cut is not None:
                when, self._cut = self._cut, None
                is_cut.set()
                if when == "after":
                    up_writer.write(data)
                    await committed.wait()
                break
            up_writer.write(data)
        answers.cancel()
        for one in (up_writer, writer):
            one.transport.abort()
            with suppress(OSError):
                await one.wait_closed()

    async def _answer(
        self,
        up_reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        is_cut: asyncio.Event,
        committed: asyncio.Event,
    ) -> None:
        while data := await self._read(up_reader):
            if is_cut.is_set():
                committed.set()
                return
            writer.write(data)
        writer.transport.abort()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.read(_CHUNK)
        except OSError:
            return b""

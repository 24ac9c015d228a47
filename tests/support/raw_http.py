"""HTTP as bytes on a socket, for what no HTTP client would send."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any
from urllib.parse import urlsplit

#: Bounds a test that waits for a response that never comes, in seconds.
LIMIT_SECONDS = 60


@dataclass(frozen=True)
class RawResponse:
    """A response, read until the server closed the connection."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class RawConnection:
    """A connection to the service."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_slowly(self, data: bytes, pause: float) -> None:
        """Send byte by byte until the service closes the connection."""
        with contextlib.suppress(ConnectionError):
            for at in range(len(data)):
                await self.send(data[at : at + 1])
                await asyncio.sleep(pause)

    async def read_to_end(self) -> RawResponse | None:
        """Return the response, or None if the service closed the connection without one."""
        async with asyncio.timeout(LIMIT_SECONDS):
            received = b""
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(65536):
                    received += piece
        if not received:
            return None
        head, _, body = received.partition(b"\r\n\r\n")
        status_line, _, fields = head.partition(b"\r\n")
        headers = BytesHeaderParser().parsebytes(fields)
        return RawResponse(int(status_line.split()[1]), headers, body)


@asynccontextmanager
async def connected(url: str, *, address: str = "127.0.0.1") -> AsyncIterator[RawConnection]:
    """Connect from `address`, any of 127.0.0.0/8."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=(address, 0))
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def exchange(url: str, *pieces: bytes) -> RawResponse:
    """Send the pieces one after the other, each in a segment of its own, and return the response."""
    async with connected(url) as connection:
        for piece in pieces:
            await connection.send(piece)
            await asyncio.sleep(0.05)
        response = await connection.read_to_end()
    assert response is not None, "the connection was closed without a response"
    return response


def head(method: str, path: str, *fields: str, key: str | None = None) -> bytes:
    """Return a request line and header, for one request on its connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: service", "Connection: close", *fields]
    lines += [f"Authorization: Bearer {key}"] if key else []
    return "\r\n".join([*lines, "", ""]).encode()

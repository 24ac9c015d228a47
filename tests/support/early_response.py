"""A request whose response arrives while its body is still being sent.

An aiohttp client that is closed then leaves a transport with unsent bytes behind, which outlives the event
loop of its test and is reported as a leak in whatever test runs next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from urllib.parse import urlsplit

_CHUNK = bytes(65_536)


@dataclass(frozen=True)
class EarlyResponse:
    status: int
    headers: Message
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get_content_type()


async def post_zeros(url: str, size: int, headers: Mapping[str, str] | None = None) -> EarlyResponse:
    """POST `size` zero bytes until the server responds, and cut the connection then.

    Raises ConnectionError if the server closes the connection without a response.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {size}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    sender = asyncio.create_task(_send_zeros(writer, size))
    try:
        return await _read_response(reader)
    except asyncio.IncompleteReadError as error:
        raise ConnectionError(f"{url} closed the connection without a response") from error
    finally:
        sender.cancel()
        writer.transport.abort()
        await asyncio.gather(sender, writer.wait_closed(), return_exceptions=True)


async def _send_zeros(writer: asyncio.StreamWriter, size: int) -> None:
    with contextlib.suppress(ConnectionError):
        for start in range(0, size, len(_CHUNK)):
            writer.write(_CHUNK[: size - start])
            await writer.drain()


async def _read_response(reader: asyncio.StreamReader) -> EarlyResponse:
    status_line, _, head = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
    headers = BytesHeaderParser().parsebytes(head)
    return EarlyResponse(
        status=int(status_line.split()[1]),
        headers=headers,
        body=await reader.readexactly(int(headers["Content-Length"])),
    )

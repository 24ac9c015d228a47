"""Real servers on loopback addresses, well-behaved and not, and names that lead where a test wants."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp.abc import AbstractResolver, ResolveResult

from tests.support.tcp_server import TcpServer

#: What a server says to one request: it has the request line and may write as it likes.
Say = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


class StaticResolver(AbstractResolver):
    """A name server with a fixed table; each look-up of a name takes its next address, the last one stays."""

    def __init__(self, **table: str | list[str]) -> None:
        self.table = {name: [to] if isinstance(to, str) else list(to) for name, to in table.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        name = host.partition(".")[0]
        if name not in self.table:
            raise OSError(f"no such name: {host}")
        addresses = self.table[name]
        chosen = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return [_result(host, address, port) for address in chosen.split()]

    async def close(self) -> None:
        pass


def _result(host: str, address: str, port: int) -> ResolveResult:
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(
        hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST
    )


class ScriptedHttpServer:
    """Counts what it is asked and answers as it was told."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.requests: list[str] = []
        self.tcp = TcpServer(self._handle)

    @property
    def port(self) -> int:
        return self.tcp.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.requests.append(head)
            await self._say(head.splitlines()[0], writer)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(say: Say, host: str = "127.0.0.1") -> AsyncIterator[ScriptedHttpServer]:
    server = ScriptedHttpServer(say)
    await server.tcp.start(host)
    try:
        yield server
    finally:
        await server.tcp.stop()


def answer(body: bytes, *headers: str, status: str = "200 OK") -> Say:
    """The whole body, with its true length unless `headers` say another."""

    async def say(_: str, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", *headers, "Connection: close"]
        if not any(header.startswith(("Content-Length", "Transfer-Encoding")) for header in headers):
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    return say


def redirect(target: str, status: str = "302 Found") -> Say:
    return answer(b"", f"Location: {target}", status=status)


def endless(chunk: bytes, pause: float = 0.0) -> Say:
    """A body without an end: as fast as it is taken, or a chunk every `pause` seconds."""

    async def say(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _number in range(100_000):
            writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            await writer.drain()
            await asyncio.sleep(pause)

    return say

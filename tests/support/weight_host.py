"""A server of weight files with moods: it serves ranges, or stalls, cuts, lies and sends people elsewhere."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.support.web_servers import ScriptedHttpServer, serving

#: Answers one request: its head, the data, where to write.
Mood = Callable[[str, bytes, asyncio.StreamWriter], Awaitable[None]]
_RANGE = re.compile(r"^range: bytes=(\d+)-", re.IGNORECASE | re.MULTILINE)
_IF_RANGE = re.compile(r"^if-range: (.+?)\r?$", re.IGNORECASE | re.MULTILINE)


class WeightHost:
    """One file at every path. Each request takes the next mood; after the last one it behaves."""

    def __init__(self, data: bytes, *moods: Mood) -> None:
        self.data = data
        self.moods = list(moods)
        self.server: ScriptedHttpServer

    async def say(self, _: str, writer: asyncio.StreamWriter) -> None:
        mood = self.moods.pop(0) if self.moods else whole()
        await mood(self.server.requests[-1], self.data, writer)

    @property
    def ranges(self) -> list[int]:
        """From which byte on it was asked, request by request."""
        return [asked_from(head) for head in self.server.requests]


@asynccontextmanager
async def hosting(data: bytes, *moods: Mood, address: str = "127.0.0.1") -> AsyncIterator[WeightHost]:
    host = WeightHost(data, *moods)
    async with serving(host.say, address) as server:
        host.server = server
        yield host


def asked_from(head: str) -> int:
    found = _RANGE.search(head)
    return int(found[1]) if found else 0


def whole(etag: str = '"v1"', ranges: bool = True) -> Mood:
    """What was asked for, all of it."""
    return partly(None, etag=etag, ranges=ranges)


def partly(count: int | None, pause: float = 0.0, etag: str = '"v1"', ranges: bool = True) -> Mood:
    """Only so many bytes of it; then the connection ends, after `pause` seconds of silence."""

    async def mood(head: str, data: bytes, writer: asyncio.StreamWriter) -> None:
        begin, known = asked_from(head), _IF_RANGE.search(head)
        if not ranges or (known and known[1] != etag):
            begin = 0
        lines = [f"Content-Length: {len(data) - begin}", f"ETag: {etag}", "Connection: close"]
        if begin:
            lines.append(f"Content-Range: bytes {begin}-{len(data) - 1}/{len(data)}")
        if begin > len(data):
            begin, lines = len(data), ["Content-Length: 0", "Connection: close"]
            status = "416 Range Not Satisfiable"
        else:
            status = "206 Partial Content" if begin else "200 OK"
        rest = data[begin:] if count is None else data[begin : begin + count]
        writer.write("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + rest)
        await writer.drain()
        await asyncio.sleep(pause)

    return mood


def lying(body: bytes, *headers: str, status: str = "200 OK") -> Mood:
    """An answer that has nothing to do with the request; its length is told unless it is chunked."""

    async def mood(head: str, data: bytes, writer: asyncio.StreamWriter) -> None:
        told = (
            []
            if any("-encoding" in header.lower() for header in headers)
            else [f"Content-Length: {len(body)}"]
        )
        lines = [f"HTTP/1.1 {status}", *told, *headers, "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode() + body)

    return mood

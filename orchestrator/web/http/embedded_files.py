"""JSON responses with files as base64 text, which is made while it is sent.

Results may be many megabytes, and several. A response holds at most a piece of each file, and no text of a
file is copied on its way through the JSON document: its place there is marked.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from orchestrator.media.errors import ObjectStoreError
from orchestrator.web.http.errors import cut_off
from orchestrator.web.http.response_model import to_json

#: Bytes of a file that are in memory at a time. Like `_SLICE_BYTES` a multiple of three, which makes four
#: characters, so that the texts of parts make up the text of the whole.
PIECE_BYTES = 6 * 2**20
#: Bytes that are encoded at once: 256 KiB of text, in a tenth of a millisecond.
_SLICE_BYTES = 192 * 2**10
#: Characters of a response that is sent in one write.
_SMALL_RESPONSE = 256 * 2**10

#: Returns the bytes from one offset to another one (exclusive). Raises ObjectStoreError.
ReadRange = Callable[[int, int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file whose first piece is in memory; the others are read when it is their turn."""

    #: Bytes.
    size: int
    #: The first `PIECE_BYTES`, or all if there are fewer.
    beginning: bytes
    read: ReadRange | None = None

    @classmethod
    def of(cls, data: bytes) -> FileContent:
        """Return the content of a file that is in memory."""
        return cls(len(data), data)

    @property
    def text_length(self) -> int:
        """Characters of its base64 text."""
        return (self.size + 2) // 3 * 4

    async def encode(self) -> AsyncIterator[bytes]:
        """Yield its base64 text in parts. Raises ObjectStoreError, also if the file has become shorter."""
        piece, offset = self.beginning, 0
        while True:
            view = memoryview(piece)
            for start in range(0, len(view), _SLICE_BYTES):
                yield b64encode(view[start : start + _SLICE_BYTES])
            offset += len(piece)
            if offset >= self.size:
                return
            stop = min(self.size, offset + PIECE_BYTES)
            piece = await self.read(offset, stop) if self.read else b""
            if len(piece) != stop - offset:
                raise ObjectStoreError(f"the file has {offset + len(piece)} bytes instead of {self.size}")

    async def to_base64(self) -> str:
        """Return its base64 text. Raises ObjectStoreError."""
        return b"".join([part async for part in self.encode()]).decode("ascii")


class EmbeddedFiles:
    """The files of one response."""

    def __init__(self) -> None:
        # Random, because a response repeats texts of its request.
        self._mark = f"file-{secrets.token_hex(16)}-"
        self._files: list[FileContent] = []

    def add(self, file: FileContent) -> str:
        """Return what stands for the base64 text of a file in the model of the response."""
        self._files.append(file)
        return f"{self._mark}{len(self._files) - 1}-"

    async def to_response(
        self, body: BaseModel, *, headers: Mapping[str, str] | None = None
    ) -> web.StreamResponse:
        """Return `body` as a JSON response with the texts of the files in their places.

        Raises ObjectStoreError. If reading a file fails after the response has begun, it is cut off.
        """
        text, *others = to_json(body).split(self._mark)
        parts: list[bytes | FileContent] = [text.encode()]
        for other in others:
            number, _, following = other.partition("-")
            parts += [self._files[int(number)], following.encode()]
        length = sum(len(part) if isinstance(part, bytes) else part.text_length for part in parts)
        if length <= _SMALL_RESPONSE:
            body_parts = [part async for part in _encode(parts)]
            return web.Response(
                body=b"".join(body_parts), content_type="application/json", charset="utf-8", headers=headers
            )
        return _PiecewiseResponse(parts, length, headers)


class _PiecewiseResponse(web.StreamResponse):
    """A JSON response of known length that is made while it is sent."""

    def __init__(
        self, parts: list[bytes | FileContent], length: int, headers: Mapping[str, str] | None
    ) -> None:
        super().__init__(headers=headers)
        self.content_type, self.charset, self.content_length = "application/json", "utf-8", length
        self._parts: list[bytes | FileContent] | None = parts

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body. Raises ConnectionError, with the connection closed, if a file cannot be read."""
        parts, self._parts = self._parts, None
        if parts is not None:
            try:
                async for part in _encode(parts):
                    await self.write(part)
            except ObjectStoreError as error:
                assert self._req is not None  # a response that has begun has a request
                raise cut_off(self._req, error) from error
        await super().write_eof(data)


async def _encode(parts: list[bytes | FileContent]) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
        else:
            async for text in part.encode():
                yield text

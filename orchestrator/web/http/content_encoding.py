"""Decode compressed request bodies, within limits and outside of the event loop.

`gzip` and `deflate` are accepted, as by the services whose APIs are offered here.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from aiohttp import hdrs, web

from orchestrator.errors import UnsupportedMediaType

#: Accepted values of `Content-Encoding`, for the header `Accept-Encoding` of the refusal.
ACCEPTED_ENCODINGS = "gzip, deflate"
_GZIP_NAMES = frozenset({"gzip", "x-gzip"})
#: Most parts of a gzip body that are compressed on their own.
MAX_GZIP_MEMBERS = 1000
_PIECE_BYTES = 2**18
_MAX_SHOWN_ENCODING = 60
#: First byte of a zlib header: method 8 in its lower half. Some clients send `deflate` without that header.
_ZLIB_METHOD = 8


class DamagedBody(ValueError):
    """A compressed body cannot be decoded."""


class InflatedTooLarge(ValueError):
    """A compressed body is larger than the limit once it is decoded."""


def parse_content_encoding(request: web.Request) -> str | None:
    """Return `gzip` or `deflate`, or None for a body that is not compressed. Raises UnsupportedMediaType."""
    names = [
        name
        for value in request.headers.getall(hdrs.CONTENT_ENCODING, ())
        for name in (part.strip().lower() for part in value.split(","))
        if name not in ("", "identity")
    ]
    match names:
        case []:
            return None
        case [name] if name in _GZIP_NAMES:
            return "gzip"
        case ["deflate"]:
            return "deflate"
    shown = ", ".join(names)[:_MAX_SHOWN_ENCODING]
    raise UnsupportedMediaType(
        f"`Content-Encoding` must be one of {ACCEPTED_ENCODINGS}, or be left out (got {shown!r})",
        code="unsupported_encoding",
        headers={"Accept-Encoding": ACCEPTED_ENCODINGS},
    )


def inflate(data: bytes, encoding: str, max_bytes: int) -> bytes:
    """Decode a body. CPU-bound: call it in a worker thread; the interpreter's lock is released meanwhile.

    Raises DamagedBody, InflatedTooLarge.
    """
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in _iter_inflated(data, encoding):
            size += len(piece)
            if size > max_bytes:
                raise InflatedTooLarge
            pieces.append(piece)
    except zlib.error as error:
        raise DamagedBody(str(error)) from error
    return b"".join(pieces)


def _iter_inflated(data: bytes, encoding: str) -> Iterator[bytes]:
    """Yield the decoded body in pieces. A gzip body may consist of several members."""
    view, at, members = memoryview(data), 0, 0
    while at < len(data):
        members += 1
        if members > MAX_GZIP_MEMBERS:
            raise DamagedBody(f"it has more than {MAX_GZIP_MEMBERS} members")
        member = zlib.decompressobj(_window_bits(data, encoding))
        pending: bytes | memoryview = b""
        while not member.eof:
            if not pending:
                pending, at = view[at : at + _PIECE_BYTES], at + _PIECE_BYTES
            if not pending:
                raise DamagedBody("the body ends too early")
            yield member.decompress(pending, _PIECE_BYTES)
            pending = member.unconsumed_tail
        at = min(at, len(data)) - len(member.unused_data)
        if encoding == "deflate" and at < len(data):
            raise DamagedBody("there is data after the end of the body")


def _window_bits(data: bytes, encoding: str) -> int:
    if encoding == "gzip":
        return 16 + zlib.MAX_WBITS
    return zlib.MAX_WBITS if data[0] & 0xF == _ZLIB_METHOD else -zlib.MAX_WBITS

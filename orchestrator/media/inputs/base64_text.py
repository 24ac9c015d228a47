"""Decode base64 of any length piece by piece, so that other threads run in between."""

from __future__ import annotations

import base64
import string

_URLSAFE_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = string.whitespace.encode()
_PADDING = "="
#: Characters that one step decodes. The interpreter's lock is held during a step, about 0.2 ms.
_PIECE_CHARACTERS = 2**16
#: Four characters of base64 stand for three bytes.
_GROUP = 4


class Base64TooLong(ValueError):
    """The decoded data would be larger than the limit."""


def decode_base64(text: str, *, start: int, max_bytes: int) -> bytes:
    """Decode `text` from `start` on: either alphabet, with or without padding and line breaks.

    CPU-bound: call it in a worker thread. Raises ValueError, Base64TooLong.
    """
    decoded, rest = list[bytes](), b""
    end = _end_of_data(text, start)
    if (end - start - _count_whitespace(text, start, end)) * 3 // _GROUP > max_bytes:
        raise Base64TooLong
    for at in range(start, end, _PIECE_CHARACTERS):
        piece = text[at : min(at + _PIECE_CHARACTERS, end)].encode("ascii")
        rest += piece.translate(_URLSAFE_TO_STANDARD, _WHITESPACE)
        whole = len(rest) - len(rest) % _GROUP
        decoded.append(_decode(rest[:whole]))
        rest = rest[whole:]
    decoded.append(_decode(rest + b"=" * (-len(rest) % _GROUP), padded=True))
    return b"".join(decoded)


def _end_of_data(text: str, start: int) -> int:
    """Return where trailing padding and whitespace begin."""
    end = len(text)
    while end > start:
        piece = text[max(start, end - _PIECE_CHARACTERS) : end]
        kept = piece.rstrip(string.whitespace + _PADDING)
        end -= len(piece) - len(kept)
        if kept:
            break
    return end


def _count_whitespace(text: str, start: int, end: int) -> int:
    return sum(
        text.count(character, at, min(at + _PIECE_CHARACTERS, end))
        for at in range(start, end, _PIECE_CHARACTERS)
        for character in string.whitespace
    )


def _decode(data: bytes, *, padded: bool = False) -> bytes:
    if not padded and b"=" in data:
        raise ValueError("there is padding inside of the data")
    return base64.b64decode(data, validate=True)

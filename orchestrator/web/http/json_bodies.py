"""Parse JSON objects of any size without keeping other threads from running.

`json.loads` holds the interpreter's lock from the first byte to the last. Long texts, such as images in
base64, are therefore cut out of a large body first and decoded piece by piece; what is left must be small.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from orchestrator.errors import InvalidRequest

#: Bodies up to this size, in bytes, are parsed as they are.
MAX_SMALL_BYTES = 256 * 1024
#: Texts from this size, in bytes, are cut out of larger bodies.
LONG_TEXT_BYTES = 4 * 1024
#: Most quotation marks in a body that is larger than MAX_SMALL_BYTES, those inside of texts included; in
#: proportion to the limit where that is another one.
MAX_QUOTES = 100_000
#: Longest part of a name that an error repeats, in characters.
MAX_SHOWN_NAME = 60
#: Up to here, floating-point numbers represent every integer exactly.
MAX_EXACT_FLOAT = 2**53
#: Bytes that one call looks at, in about 0.1 ms; between two calls other threads run.
_PIECE_BYTES = 2**16
#: Longest escape of one character, in bytes: `\\ud83d\\ude00`.
_ESCAPE_BYTES = 12
#: Bytes before the end of a piece in which a place to split is looked for.
_SPLIT_BYTES = 4096
_BACKSLASH = 0x5C
#: The second half of a character of two escapes.
_LOW_SURROGATE = re.compile(rb"\\u[dD][c-fC-F]")
#: Begins the stand-in for a text that was cut out.
#: Most digits of a whole number.
MAX_DIGITS = 1000
_MARK = "\0cut "


def parse_json_object(raw: bytes, max_json_bytes: int = MAX_SMALL_BYTES) -> dict[str, Any]:
    """Parse a JSON object of at most `max_json_bytes`, long texts not counted.

    Raises InvalidRequest (`invalid_json`, `payload_too_large`).
    """
    try:
        fields = _load(raw) if len(raw) <= max_json_bytes else _LargeDocument(raw, max_json_bytes).parse()
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise InvalidRequest(
            f"The request body must be a JSON object (got {type(fields).__name__})", code="invalid_json"
        )
    return fields


def _too_large(limit: str) -> InvalidRequest:
    texts = f"{LONG_TEXT_BYTES // 1024} KiB"
    return InvalidRequest(
        f"The JSON of the request body is larger than the limit of {limit}, texts of {texts} and more, such"
        " as images in base64, not counted. Send fewer objects.",
        code="payload_too_large",
    )


def _load(raw: bytes) -> Any:
    """Parse a small document. Raises ValueError, also for a name that an object has twice."""
    return json.loads(raw, object_pairs_hook=_to_object, parse_float=_parse_float, parse_int=_parse_int)


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Raises ValueError if a name occurs twice, since either value may be meant."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        classes = [_read_class(value) for name, value in pairs if name == twice]
        if all(classes):
            raise ValueError(
                f"two nodes have the id {twice[:MAX_SHOWN_NAME]!r}: {classes[0]} and {classes[1]}; give one"
                " an id that no other node has, or leave it out"
            )
        raise ValueError(f"an object has the name {twice[:MAX_SHOWN_NAME]!r} twice; send it once")
    return fields


def _read_class(value: Any) -> str:
    """Return the class of a node of a graph in API format; empty for any other value."""
    class_type = value.get("class_type") if isinstance(value, dict) else None
    return class_type[:MAX_SHOWN_NAME] if isinstance(class_type, str) else ""


def _parse_float(text: str) -> int | float:
    """Return a whole number as an integer: JSON does not distinguish 4.0 from 4, and some clients send it."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= MAX_EXACT_FLOAT else number


def _parse_int(text: str) -> int:
    """Return a whole number. Raises ValueError for one with very many digits, which take long to read."""
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} digits; at most {MAX_DIGITS} are read")
    return int(text)


class _LargeDocument:
    """A large JSON document. `parse` raises ValueError and RecursionError."""

    def __init__(self, raw: bytes, max_bytes: int) -> None:
        self._raw = raw
        self._max_bytes = max_bytes
        self._max_quotes = MAX_QUOTES * max_bytes // MAX_SMALL_BYTES
        #: The document with stand-ins for its long texts.
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._texts: list[str] = []
        self._quotes = 0

    def parse(self) -> Any:
        self._cut_long_texts()
        return self._put_back(_load(b"".join(self._rest)))

    def _cut_long_texts(self) -> None:
        raw, kept_until, at = self._raw, 0, 0
        while (start := self._find_quote(at)) >= 0:
            self._keep(kept_until, start)
            end = self._end_of_text(start)
            if end - start < LONG_TEXT_BYTES:
                self._keep(start, end)
            else:
                self._rest.append(json.dumps(f"{_MARK}{len(self._texts)}").encode())
                self._texts.append(_decode_text(raw, start + 1, end - 1))
            kept_until = at = end
        self._keep(kept_until, len(raw))

    def _keep(self, start: int, end: int) -> None:
        self._rest_bytes += end - start
        if self._rest_bytes > self._max_bytes:
            raise _too_large(f"{self._max_bytes // 1024} KiB")
        self._rest.append(self._raw[start:end])

    def _end_of_text(self, start: int) -> int:
        """Return the position after the closing quotation mark of the text that begins at `start`."""
        at = start + 1
        while (quote := self._find_quote(at)) >= 0:
            if _count_backslashes(self._raw, start + 1, quote) % 2 == 0:
                return quote + 1
            at = quote + 1
        raise ValueError("a text has no end")

    def _find_quote(self, start: int) -> int:
        """Do the same as `raw.find(b'"', start)`, piece by piece."""
        self._quotes += 1
        if self._quotes > self._max_quotes:
            raise _too_large(f"{self._max_quotes} quotation marks")
        for at in range(start, len(self._raw), _PIECE_BYTES):
            found = self._raw.find(b'"', at, at + _PIECE_BYTES)
            if found >= 0:
                return found
        return -1

    def _put_back(self, value: Any) -> Any:
        """Replace the stand-ins by the texts that were cut out."""
        if isinstance(value, str):
            return self._original(value)
        if isinstance(value, list):
            return [self._put_back(item) for item in value]
        if isinstance(value, dict):
            return _to_object([(self._original(name), self._put_back(item)) for name, item in value.items()])
        return value

    def _original(self, text: str) -> str:
        number = text.removeprefix(_MARK)
        is_stand_in = number != text and number.isdecimal() and number.isascii() and len(number) < 8
        return self._texts[int(number)] if is_stand_in and int(number) < len(self._texts) else text


def _count_backslashes(raw: bytes, start: int, end: int) -> int:
    """Return the number of backslashes directly before `end`, not looking before `start`.

    Raises ValueError for very many.
    """
    window = 16
    while window <= _PIECE_BYTES:
        before = raw[max(start, end - window) : end]
        count = len(before) - len(before.rstrip(b"\\"))
        if count < len(before) or end - window <= start:
            return count
        window *= 4
    raise ValueError("a text has too many backslashes in a row")


def _decode_text(raw: bytes, start: int, end: int) -> str:
    """Decode a text without its quotation marks. Raises ValueError."""
    pieces, at = list[str](), start
    while at < end:
        stop = end if end - at <= _PIECE_BYTES else _find_split(raw, at + _PIECE_BYTES)
        piece = b'"%b"' % raw[at:stop]
        pieces.append(json.loads(piece.decode("utf-8", "surrogatepass")))
        at = stop
    return "".join(pieces)


def _find_split(raw: bytes, latest: int) -> int:
    """Return a position that is neither inside of a character nor of an escape. Raises ValueError."""
    for at in range(latest, latest - _SPLIT_BYTES, -1):
        if raw[at] == _BACKSLASH:
            is_start = _count_backslashes(raw, latest - _PIECE_BYTES, at) % 2 == 0
            if is_start and not _LOW_SURROGATE.match(raw, at):
                return at
        elif raw[at] & 0xC0 != 0x80 and b"\\" not in raw[at - _ESCAPE_BYTES : at]:
            return at
    raise ValueError("a long text cannot be split")

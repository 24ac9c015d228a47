"""Parse multipart forms (RFC 7578) that have been received as a whole.

aiohttp's own reader works on the event loop, in Python and line by line, which takes seconds for large files.
"""

from __future__ import annotations

import base64
import quopri
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp.helpers import parse_mimetype
from aiohttp.multipart import (
    BadContentDispositionHeader,
    BadContentDispositionParam,
    content_disposition_filename,
    parse_content_disposition,
)

#: Most fields of a form.
MAX_FIELDS = 1000
MAX_PART_HEADER_BYTES = 8192
_LINE_END = b"\r\n"
# aiohttp would write the damaged headers of callers to the log, as they are.
for _category in (BadContentDispositionHeader, BadContentDispositionParam):
    warnings.filterwarnings("ignore", category=_category)
_PIECE_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of a form: text, or bytes for a file."""

    name: str
    value: str | bytes
    #: Name and content type of a file, as the caller wrote them; empty if not given.
    filename: str = ""
    content_type: str = ""


def parse_multipart(raw: bytes, content_type: str) -> list[FormField]:
    """Return the fields of a form in their order. Raises ValueError, LookupError (unknown charset)."""
    boundary = parse_mimetype(content_type).parameters.get("boundary", "")
    if not boundary or len(boundary) > 70:
        raise ValueError("the boundary of the form is missing or too long")
    fields: list[FormField] = []
    for start, end in _iter_parts(raw, b"--" + boundary.encode("utf-8", "surrogateescape")):
        if len(fields) >= MAX_FIELDS:
            raise ValueError(f"the form has more than {MAX_FIELDS} fields")
        fields.append(_parse_part(raw, start, end))
    return fields


def _iter_parts(raw: bytes, delimiter: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of each part: its header, an empty line and its content."""
    at = 0 if raw.startswith(delimiter) else _find(raw, _LINE_END + delimiter, 0)
    if at < 0:
        raise ValueError("the form does not contain its boundary")
    at += len(delimiter) + (0 if at == 0 and raw.startswith(delimiter) else len(_LINE_END))
    while raw[at : at + 2] != b"--":
        start = raw.find(_LINE_END, at, at + MAX_PART_HEADER_BYTES)
        if start < 0 or raw[at:start].strip(b" \t"):
            raise ValueError("the line of a boundary is damaged")
        end = _find(raw, _LINE_END + delimiter, start)
        if end < 0:
            raise ValueError("the form ends before its last boundary")
        yield start + len(_LINE_END), end
        at = end + len(_LINE_END) + len(delimiter)


def _parse_part(raw: bytes, start: int, end: int) -> FormField:
    headers, content_start = _parse_part_headers(raw, start, end)
    _, parameters = parse_content_disposition(headers.get("content-disposition"))
    name, filename = parameters.get("name"), content_disposition_filename(parameters)
    if name is None:
        raise ValueError("a field of the form has no name")
    content_type = headers.get("content-type")
    mimetype = parse_mimetype(content_type or "text/plain")
    if mimetype.type == "multipart":
        raise ValueError("a field of the form is itself a form")
    data = _decode_transfer(raw[content_start:end], headers.get("content-transfer-encoding", "binary"))
    # Browsers send an input for files without a file as an empty file without a name.
    if filename or (data and content_type is not None and mimetype.type != "text"):
        return FormField(name, data, filename or "", content_type or "")
    return FormField(name, data.decode(mimetype.parameters.get("charset", "utf-8")))


def _parse_part_headers(raw: bytes, start: int, end: int) -> tuple[dict[str, str], int]:
    """Return the headers of a part by lower-case name, and where its content starts."""
    if raw.startswith(_LINE_END, start):
        return {}, start + len(_LINE_END)
    # The content may be empty, so the boundary's line end can be that of the empty line.
    header_end = raw.find(_LINE_END * 2, start, min(start + MAX_PART_HEADER_BYTES, end + len(_LINE_END)))
    if header_end < 0:
        raise ValueError("the header of a field is missing its end, or is too long")
    headers: dict[str, str] = {}
    for line in raw[start:header_end].split(_LINE_END):
        name, separator, value = line.partition(b":")
        if not separator:
            raise ValueError("a header of a field is damaged")
        headers[name.strip().lower().decode("latin-1")] = value.strip().decode("utf-8", "surrogateescape")
    return headers, min(header_end + 2 * len(_LINE_END), end)


def _decode_transfer(data: bytes, encoding: str) -> bytes:
    match encoding.strip().lower():
        case "binary" | "8bit" | "7bit":
            return data
        case "base64":
            return base64.b64decode(data)
        case "quoted-printable":
            return quopri.decodestring(data)
    raise ValueError("a field of the form has an unknown Content-Transfer-Encoding")


def _find(raw: bytes, text: bytes, start: int) -> int:
    """Do the same as `raw.find`, piece by piece, so that other threads can run in between."""
    for at in range(start, len(raw), _PIECE_BYTES):
        found = raw.find(text, at, at + _PIECE_BYTES + len(text) - 1)
        if found >= 0:
            return found
    return -1

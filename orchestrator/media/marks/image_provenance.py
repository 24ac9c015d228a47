"""Strip the graph that ComfyUI's nodes embed in image files: texts of a PNG, EXIF, XMP and comments.

A PNG has it in texts with the keywords `prompt` and `workflow`, an animated one in chunks of ComfyUI's own
(`comf`). A WebP or JPEG has it in EXIF fields, as `prompt:{...}` and `workflow:{...}`, or as JSON.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.marks.metadata import (
    PNG_SIGNATURE,
    iter_jpeg_segments,
    iter_png_chunks,
    iter_webp_chunks,
    make_png_chunk,
    make_riff_chunk,
)

#: Metadata keywords of the graph in the API format and in the UI format.
GRAPH_KEYWORDS = frozenset({"prompt", "workflow"})
_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"comf"})
_EXIF_PREFIX = b"Exif\x00\x00"
_APP1, _COMMENT = 0xE1, 0xFE
#: VP8X flags of EXIF and XMP.
_WEBP_EXIF_FLAG, _WEBP_XMP_FLAG = 0x08, 0x04
_SUB_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
#: A field that names what follows, or JSON of a graph in the API format or in the UI format.
_NAMED_GRAPH = re.compile(r"\W*(prompt|workflow)\W*[:=]\s*[{\[]", re.IGNORECASE)
_GRAPH_JSON = re.compile(r'"class_type\\*"\s*:|"(prompt|workflow)\\*"\s*:\s*\\*"?[{\[]', re.IGNORECASE)


def is_graph_text(text: str) -> bool:
    """Return whether a text of metadata holds a graph."""
    return bool(_NAMED_GRAPH.match(text) or _GRAPH_JSON.search(text))


def strip_png_graph(data: bytes) -> bytes:
    """Return a PNG without the graph. Raises CorruptMedia."""
    kept = [PNG_SIGNATURE]
    for chunk in iter_png_chunks(data):
        if chunk.kind == b"eXIf":
            exif = strip_exif_graph(chunk.body)
            kept.append(
                chunk.raw if exif == chunk.body else make_png_chunk(chunk.kind, exif) if exif else b""
            )
            continue
        keyword = chunk.body.partition(b"\0")[0] if chunk.kind in _TEXT_CHUNKS else b""
        is_graph = keyword.decode("latin-1").lower() in GRAPH_KEYWORDS
        # Texts of other keywords may hold it too, unless they are compressed.
        if not is_graph and not (chunk.kind in _TEXT_CHUNKS and is_graph_text(_decode(chunk.body))):
            kept.append(chunk.raw)
    return b"".join(kept)


def strip_webp_graph(data: bytes) -> bytes:
    """Return a WebP without the graph; one that holds none stays as it is. Raises CorruptMedia."""
    kept: list[bytes] = []
    dropped_flags, is_changed = 0, False
    for kind, body, raw in iter_webp_chunks(data):
        new = raw
        if kind == b"EXIF":
            block = body.removeprefix(_EXIF_PREFIX)
            exif = strip_exif_graph(block)
            new = raw if exif == block else make_riff_chunk(kind, exif) if exif else b""
            dropped_flags |= 0 if new else _WEBP_EXIF_FLAG
        elif kind == b"XMP " and is_graph_text(_decode(body)):
            new, dropped_flags = b"", dropped_flags | _WEBP_XMP_FLAG
        is_changed = is_changed or new != raw
        kept.append(new)
    if not is_changed:
        return data
    body = b"WEBP" + b"".join(kept)
    if body[4:8] == b"VP8X":
        body = body[:12] + bytes([body[12] & ~dropped_flags]) + body[13:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def strip_jpeg_graph(data: bytes) -> bytes:
    """Return a JPEG without the graph; one that holds none stays as it is. Raises CorruptMedia."""
    try:
        kept = [_strip_segment(marker, raw) for marker, raw in iter_jpeg_segments(data)]
    except (struct.error, IndexError) as error:
        raise CorruptMedia("the image is truncated") from error
    stripped = data[:2] + b"".join(kept)
    return data if data.startswith(stripped) else stripped


def _strip_segment(marker: int, raw: bytes) -> bytes:
    """Return a segment of a JPEG without the graph; nothing if it holds nothing else."""
    if marker == _COMMENT:
        return b"" if is_graph_text(_decode(raw[4:])) else raw
    if marker != _APP1:
        return raw
    if raw[4:10] != _EXIF_PREFIX:
        return b"" if is_graph_text(_decode(raw[4:])) else raw
    exif = strip_exif_graph(raw[10:])
    if exif == raw[10:]:
        return raw
    body = _EXIF_PREFIX + (exif or b"")
    return raw[:2] + struct.pack(">H", len(body) + 2) + body if exif else b""


def strip_exif_graph(block: bytes) -> bytes | None:
    """Return an EXIF block without its graph: the same bytes if it has none, None if nothing else remains.

    A block with a graph that cannot be read is dropped.
    """
    try:
        exif, kept = Image.Exif(), Image.Exif()
        exif.load(_EXIF_PREFIX + block)
        kept.update(_without_graph({tag: exif[tag] for tag in exif if tag not in _SUB_DIRECTORIES}))
        for directory in _SUB_DIRECTORIES:
            fields = _without_graph(exif.get_ifd(directory))
            if fields:
                kept[directory] = fields
        if not is_graph_text(_decode(block)) and _count_fields(kept) == _count_fields(exif):
            return block
        return kept.tobytes().removeprefix(_EXIF_PREFIX) if len(kept) else None
    except (SyntaxError, struct.error, ValueError, TypeError, LookupError, OSError):
        return None if is_graph_text(_decode(block)) else block


def _without_graph(fields: Mapping[int, Any]) -> dict[int, Any]:
    """Return the fields of a directory that hold no graph."""
    return {tag: value for tag, value in fields.items() if not _is_graph_field(value)}


def _is_graph_field(value: object) -> bool:
    text = _decode(value) if isinstance(value, bytes) else value
    return isinstance(text, str) and is_graph_text(text.strip())


def _count_fields(exif: Image.Exif) -> int:
    return len(exif) + sum(len(exif.get_ifd(directory)) for directory in _SUB_DIRECTORIES)


def _decode(value: bytes) -> str:
    """Return bytes of any encoding as a text in which a graph is recognised: its syntax is ASCII."""
    text = value.replace(b"\0", b"").decode("latin-1")
    for code in ("ASCII", "UNICODE", "JIS"):  # how `UserComment` begins
        text = text.removeprefix(code)
    return text

"""Strip metadata from image files without decoding the pixels.

Removed are EXIF (locations, cameras, people), XMP, comments, texts, colour profiles, thumbnails, further
frames of a PNG, and data after the end of the image.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.media.errors import CorruptMedia

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS_KEPT = frozenset(
    {b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"cHRM", b"sBIT", b"IDAT", b"IEND"}
)
_WEBP_CHUNKS_KEPT = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
#: VP8X flags for a colour profile, EXIF and XMP.
_WEBP_METADATA_FLAGS = 0x20 | 0x08 | 0x04

_ORIENTATION_TAG = 0x0112
#: Types of EXIF values.
_ASCII_TYPE, _SHORT_TYPE = 2, 3
_EXIF_PREFIX = b"Exif\x00\x00"
_SOI, _EOI, _SOS, _APP0, _APP1, _APP14, _APP15, _COMMENT = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
#: Markers without a length: TEM and the restart markers.
_STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
#: Maximum number of chunks or segments of one file; photographs have some hundreds.
MAX_BLOCKS = 100_000
#: Maximum number of scans of a JPEG, each of which passes over all pixels. Progressive files have about ten.
MAX_JPEG_SCANS = 100
#: The end of fill bytes before a JPEG marker.
_AFTER_FILL = re.compile(rb"[^\xff]")
#: The next marker after compressed data, in which FF is followed by 00, a restart marker or a fill byte.
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True, slots=True)
class StrippedImage:
    """An image file without metadata."""

    data: bytes
    #: The removed EXIF block; its orientation still applies to the pixels.
    exif: bytes | None = None
    #: Whether frames of a PNG animation were removed.
    lost_frames: bool = False


class PngChunk(NamedTuple):
    """One chunk of a PNG file."""

    kind: bytes
    body: bytes
    #: The whole chunk: length, kind, body and checksum.
    raw: bytes


def make_png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG: length, kind, body and checksum."""
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)))


def make_riff_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a WebP: kind, length, body, and a zero byte after a body of odd length."""
    return b"".join((kind, struct.pack("<I", len(body)), body, b"\0" * (len(body) % 2)))


def iter_png_chunks(data: bytes) -> Iterator[PngChunk]:
    """Yield the chunks of a PNG up to the end of the data.

    Raises CorruptMedia if one is truncated, or if there are too many.
    """
    at, count = len(PNG_SIGNATURE), 0
    while at < len(data):
        count += 1
        _check_block_count(count)
        try:
            length, kind = struct.unpack_from(">I4s", data, at)
        except struct.error as error:
            raise CorruptMedia("the image is truncated") from error
        end = at + 12 + length
        if end > len(data):
            raise CorruptMedia("the image is truncated")
        yield PngChunk(kind, data[at + 8 : end - 4], data[at:end])
        at = end


class JpegSegment(NamedTuple):
    """One segment of a JPEG file; a scan includes its compressed data."""

    marker: int
    #: The whole segment, with its marker.
    raw: bytes


def _check_block_count(count: int) -> None:
    if count > MAX_BLOCKS:
        raise CorruptMedia(f"the image has more than {MAX_BLOCKS} chunks")


def strip_metadata(data: bytes, content_type: str) -> StrippedImage:
    """Return the same pixels in a file without metadata. Raises CorruptMedia if its structure is broken."""
    try:
        match content_type:
            case "image/png":
                return _strip_png(data)
            case "image/jpeg":
                return _strip_jpeg(data)
            case "image/webp":
                return _strip_webp(data)
    except (struct.error, IndexError) as error:
        raise CorruptMedia("the image is truncated") from error
    return StrippedImage(data)


def _strip_png(data: bytes) -> StrippedImage:
    kept, exif, frames = [PNG_SIGNATURE], None, 1
    for chunk in iter_png_chunks(data):
        if chunk.kind == b"eXIf":
            exif = chunk.body
        elif chunk.kind == b"acTL":
            frames = int.from_bytes(chunk.body[:4])
        elif chunk.kind in _PNG_CHUNKS_KEPT:
            kept.append(chunk.raw)
        if chunk.kind == b"IEND":
            return StrippedImage(b"".join(kept), exif, lost_frames=frames > 1)
    raise CorruptMedia("the image is truncated")


def _strip_jpeg(data: bytes) -> StrippedImage:
    kept, exif, scans = [data[:2]], None, 0
    for marker, segment in iter_jpeg_segments(data):
        if marker == _SOS:
            scans += 1
            if scans > MAX_JPEG_SCANS:
                raise CorruptMedia(f"the JPEG image has more than {MAX_JPEG_SCANS} scans")
        if marker == _APP1 and segment[4:10] == _EXIF_PREFIX:
            exif = segment[10:]
        elif marker in (_APP0, _APP14) or not (_APP0 <= marker <= _APP15 or marker == _COMMENT):
            kept.append(segment)
    return StrippedImage(b"".join(kept), exif)


def iter_jpeg_segments(data: bytes) -> Iterator[JpegSegment]:
    """Yield the segments of a JPEG after its first marker, up to the end marker or the end of the data.

    Raises CorruptMedia if a marker is missing or there are too many segments; struct.error and IndexError
    if the data ends within a segment's header.
    """
    at, count = 2, 0
    while True:
        count += 1
        _check_block_count(count)
        start, marker = _find_marker(data, at)
        if marker == _EOI:
            yield JpegSegment(marker, b"\xff\xd9")
            return
        if marker in _STANDALONE_MARKERS:
            at = start + 2
            continue
        at = start + 2 + struct.unpack_from(">H", data, start + 2)[0]
        if marker == _SOS:
            scan_end = _MARKER_AFTER_SCAN.search(data, at)
            if scan_end is None:  # no end marker: the decoder will report missing rows
                yield JpegSegment(marker, data[start:])
                return
            at = scan_end.start()
        yield JpegSegment(marker, data[start:at])


def _find_marker(data: bytes, offset: int) -> tuple[int, int]:
    """Return the offset and the code of the next marker."""
    if data[offset] != 0xFF:
        raise CorruptMedia("the image is broken: a JPEG marker is missing")
    code = _AFTER_FILL.search(data, offset)
    if code is None:
        raise CorruptMedia("the image is truncated")
    return code.start() - 1, data[code.start()]


class WebpChunk(NamedTuple):
    """One chunk of a WebP file."""

    kind: bytes
    body: bytes
    #: The whole chunk: kind, length, body and padding.
    raw: bytes


def iter_webp_chunks(data: bytes) -> Iterator[WebpChunk]:
    """Yield the chunks of a WebP. Raises CorruptMedia if it is truncated, or if there are too many."""
    at, count = 12, 0
    if len(data) < at:
        raise CorruptMedia("the image is truncated")
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise CorruptMedia("the image is truncated")
    while at + 8 <= end:
        count += 1
        _check_block_count(count)
        kind, length = struct.unpack_from("<4sI", data, at)
        chunk = data[at : at + 8 + length + length % 2]
        yield WebpChunk(kind, chunk[8 : 8 + length], chunk)
        at += len(chunk)


def _strip_webp(data: bytes) -> StrippedImage:
    kept, exif = [], None
    for kind, body, chunk in iter_webp_chunks(data):
        if kind == b"EXIF":
            exif = body.removeprefix(_EXIF_PREFIX)
        elif kind == b"VP8X":
            kept.append(chunk[:8] + bytes([chunk[8] & ~_WEBP_METADATA_FLAGS]) + chunk[9:])
        elif kind in _WEBP_CHUNKS_KEPT:
            kept.append(chunk)
    body = b"WEBP" + b"".join(kept)
    return StrippedImage(b"RIFF" + struct.pack("<I", len(body)) + body, exif)


class _ExifEntry(NamedTuple):
    """One entry of the first directory of an EXIF block."""

    tag: int
    kind: int
    #: Number of values; for a text its length in bytes.
    length: int
    #: The value, or its offset if it is longer than four bytes, as it is written.
    field: bytes


def _iter_exif_entries(exif: bytes, order: str) -> Iterator[_ExifEntry]:
    """Yield the entries up to the first one that is broken."""
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for index in range(count):
            yield _ExifEntry(*struct.unpack_from(f"{order}HHI4s", exif, at + 2 + 12 * index))
    except struct.error:
        return


def _exif_byte_order(exif: bytes | None) -> str | None:
    """Return the byte order of an EXIF block for `struct`; None if there is no block or it is broken."""
    return {b"II": "<", b"MM": ">"}.get(exif[:2]) if exif else None


def exif_orientation(exif: bytes | None) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; 1 if the block is missing, broken or has none."""
    order = _exif_byte_order(exif)
    if exif is None or order is None:
        return 1
    for entry in _iter_exif_entries(exif, order):
        if (entry.tag, entry.kind) == (_ORIENTATION_TAG, _SHORT_TYPE):
            (value,) = struct.unpack_from(f"{order}H", entry.field)
            return value if 1 <= value <= 8 else 1
    return 1


def exif_texts(exif: bytes | None) -> dict[int, str]:
    """Return the texts of an EXIF block by their tag; empty if the block is missing or broken."""
    order = _exif_byte_order(exif)
    if exif is None or order is None:
        return {}
    texts = {}
    for entry in _iter_exif_entries(exif, order):
        if entry.kind == _ASCII_TYPE:
            (offset,) = struct.unpack(f"{order}I", entry.field)
            text = entry.field[: entry.length] if entry.length <= 4 else exif[offset : offset + entry.length]
            texts[entry.tag] = text.rstrip(b"\0").decode("utf-8", "replace")
    return texts

"""Read the size of an image from the header of its file. No memory is allocated for pixels.

Pillow is not used here: its WebP and GIF decoders allocate the canvas as soon as they open a file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.marks.metadata import iter_jpeg_segments

#: Maximum offset of a GIF's first frame. Comments before it are walked block by block, in Python.
MAX_GIF_HEADER_BYTES = 2**20

_PNG_HEADER = b"\x00\x00\x00\x0dIHDR"
#: Markers C0 to CF are frame headers, except for tables and an extension.
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_GIF_FRAME, _GIF_EXTENSION, _GIF_END = 0x2C, 0x21, 0x3B


def read_image_size(data: bytes, content_type: str) -> tuple[int, int]:
    """Return the width and height in pixels that the decoder will use, before orientation.

    Raises CorruptMedia if the header is truncated or broken.
    """
    reader = _READERS.get(content_type)
    if reader is None:
        raise CorruptMedia(f"{content_type} is not a supported image format")
    try:
        return reader(data)
    except (struct.error, IndexError) as error:
        raise CorruptMedia("the image is truncated") from error


def _png_size(data: bytes) -> tuple[int, int]:
    if data[8:16] != _PNG_HEADER:
        raise CorruptMedia("the PNG image does not start with its size")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for segment in iter_jpeg_segments(data):
        if segment.marker in _JPEG_FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", segment.raw, 5)
            return width, height
    raise CorruptMedia("the JPEG image has no frame header")


def _webp_size(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            if len(data) < 30:
                raise CorruptMedia("the image is truncated")
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    raise CorruptMedia("the WebP image does not start with its size")


def _gif_size(data: bytes) -> tuple[int, int]:
    """Return the size of the screen, enlarged by a first frame that exceeds it, as Pillow does."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while at < MAX_GIF_HEADER_BYTES and data[at] != _GIF_END:
        if data[at] == _GIF_FRAME:
            left, top, columns, rows = struct.unpack_from("<HHHH", data, at + 1)
            return max(width, left + columns), max(height, top + rows)
        at = _skip_gif_extension(data, at + 2) if data[at] == _GIF_EXTENSION else at + 1
    raise CorruptMedia("the GIF image has no frame")


def _skip_gif_extension(data: bytes, offset: int) -> int:
    while data[offset] and offset < MAX_GIF_HEADER_BYTES:
        offset += 1 + data[offset]
    return offset + 1


_READERS: Mapping[str, Callable[[bytes], tuple[int, int]]] = {
    "image/png": _png_size,
    "image/jpeg": _jpeg_size,
    "image/webp": _webp_size,
    "image/gif": _gif_size,
}

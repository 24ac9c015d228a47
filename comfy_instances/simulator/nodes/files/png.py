"""Encodes images as PNG, in a fraction of the time of an encoder that tries all filters on each row."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL.PngImagePlugin import PngInfo

from comfy_instances.simulator.nodes.values import ImageArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Bytes of the signature and of the first chunk, IHDR.
_HEADER_BYTES = 33
#: Colour types by number of channels: grey, grey and alpha, RGB, RGB and alpha.
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
#: Each row as its difference from the one above, which suits the soft pictures of the simulator.
_UP = 2
_FASTEST = 1


def encode_png(frame: ImageArray, info: PngInfo) -> bytes:
    """Encode [height, width, 1 to 4] of uint8, with the texts of `info`."""
    height, width, channels = frame.shape
    values = frame.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = values[0]
    np.subtract(values[1:], values[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    return b"".join(
        [
            _SIGNATURE,
            _chunk(b"IHDR", header),
            *(_chunk(name, data) for name, data, *_ in info.chunks),
            _chunk(b"IDAT", zlib.compress(rows.data, _FASTEST)),
            _chunk(b"IEND", b""),
        ]
    )


def add_chunk(png: bytes, name: bytes, data: bytes) -> bytes:
    """Return a PNG with a further chunk behind its header."""
    return png[:_HEADER_BYTES] + _chunk(name, data) + png[_HEADER_BYTES:]


def _chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG: length, name, data and checksum."""
    checksum = zlib.crc32(data, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(data)), name, data, struct.pack(">I", checksum)))

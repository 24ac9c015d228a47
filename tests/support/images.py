"""Pictures for tests."""

from __future__ import annotations

import base64
import io
import struct
import zlib

from PIL import Image


def png(width: int = 64, height: int = 64, colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    """A picture with four differently coloured quarters, so that it can be recognised."""
    picture = Image.new("RGB", (width, height), colour)
    picture.paste((30, 200, 30), (width // 2, 0, width, height // 2))
    picture.paste((30, 30, 200), (0, height // 2, width // 2, height))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def png_with_hole(width: int = 64, height: int = 64) -> bytes:
    """A mask that is transparent in its middle."""
    picture = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (width // 4, height // 4, width // 2, height // 2))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def png_white_in_the_middle(width: int = 64, height: int = 64) -> bytes:
    """A black mask without transparency that is white where `png_with_hole` is transparent."""
    picture = Image.new("L", (width, height), 0)
    picture.paste(255, (width // 4, height // 4, width // 2, height // 2))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def base64_png(width: int = 64, height: int = 64) -> str:
    return base64.b64encode(png(width, height)).decode("ascii")


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG whose header promises far more pixels than its few bytes could hold."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size

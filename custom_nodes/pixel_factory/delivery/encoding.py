"""Encode pixels in the format that was asked for, as the service itself converts files."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from .png import Pixels, encode_png

PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"
#: Largest width and height.
_LARGEST = {JPEG: 65535, WEBP: 16383}
#: As the service converts: the same options give the same pixels.
_OPTIONS: dict[str, dict[str, Any]] = {JPEG: {}, WEBP: {"method": 2}}


@dataclass(frozen=True)
class EncodedFile:
    """A file that is ready to be delivered, and what is known about it."""

    data: bytes = field(repr=False)
    content_type: str
    width: int | None = None
    height: int | None = None
    #: Videos and animations only.
    frames: int | None = None
    fps: float | None = None
    #: Whether the service must fetch it itself, because it converts or rejects it.
    must_offer: bool = False
    #: Set by `with_digests`, and kept when the bytes are dropped.
    size: int = 0
    sha256: str = ""
    md5: str = ""


def with_digests(file: EncodedFile) -> EncodedFile:
    """Return the file with its size, its SHA-256, and the MD5 that object storage reports as its tag."""
    return replace(
        file,
        size=len(file.data),
        sha256=hashlib.sha256(file.data).hexdigest(),
        md5=hashlib.md5(file.data, usedforsecurity=False).hexdigest(),
    )


def encode_image(pixels: Pixels, content_type: str, quality: int, xmp: bytes = b"") -> EncodedFile:
    """Encode 8-bit pixels (height, width, 3 or 4), with an XMP packet if there is one.

    What the format does not hold as it is (an alpha channel in a JPEG, more pixels than a WebP has) becomes a
    PNG that the service must fetch and decide on.
    """
    height, width, channels = pixels.shape
    converts = content_type in _OPTIONS and channels == 3 and max(width, height) <= _LARGEST[content_type]
    if not converts:
        offer = content_type != PNG
        return EncodedFile(encode_png(pixels, xmp), PNG, width, height, must_offer=offer)
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    name = content_type.partition("/")[2].upper()
    metadata = {"xmp": xmp} if xmp else {}
    image.save(buffer, name, quality=quality, exif=Image.Exif(), **metadata, **_OPTIONS[content_type])
    return EncodedFile(buffer.getvalue(), content_type, width, height)

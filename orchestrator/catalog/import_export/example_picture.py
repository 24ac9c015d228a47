"""Make a small picture of an imported file, which shows what the author has made with the graph."""

from __future__ import annotations

import base64
import io

from PIL import Image, UnidentifiedImageError

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.image_headers import read_image_size
from orchestrator.media.sniffing import detect_content_type
from orchestrator.media.thumbnails import make_thumbnail

_SIDE = 256
_MAX_PIXELS = 64 * 10**6
_QUALITY = 70


def make_example_picture(data: bytes) -> str:
    """Return a small WebP as a `data:` URL; empty for a file that is no image or video, or a broken one.

    CPU-bound for large files.
    """
    content_type = detect_content_type(data) or ""
    try:
        if content_type.startswith("video/"):
            data = make_thumbnail(data)
        elif not content_type.startswith("image/") or not _is_small_enough(data, content_type):
            return ""
        with Image.open(io.BytesIO(data)) as image:
            image.thumbnail((_SIDE, _SIDE))
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, "WEBP", quality=_QUALITY)
    except (CorruptMedia, UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return ""
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _is_small_enough(data: bytes, content_type: str) -> bool:
    """Return whether the pixels may be decoded: a small file may declare very many."""
    width, height = read_image_size(data, content_type)
    return width * height <= _MAX_PIXELS

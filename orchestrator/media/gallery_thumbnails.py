"""Make small previews of results for galleries. CPU-bound: call it in a worker thread."""

from __future__ import annotations

import io

from PIL import Image

from orchestrator.media.images import IMAGE_TYPES, has_alpha, open_image
from orchestrator.media.streams import STREAM_TYPES
from orchestrator.media.thumbnails import make_thumbnail

CONTENT_TYPE = "image/webp"
#: Longer side in pixels, and the most bytes of a preview.
SIDE, MAX_BYTES = 512, 40_000
#: Qualities that are tried in turn, and then with half the side.
QUALITIES = (82, 70, 55, 40, 25)


def has_thumbnail(content_type: str) -> bool:
    """Return whether files of this type can be shown as an image."""
    return content_type in IMAGE_TYPES or _is_video(content_type)


def _is_video(content_type: str) -> bool:
    return content_type in STREAM_TYPES and content_type.startswith("video/")


def make_gallery_thumbnail(data: bytes, content_type: str) -> bytes:
    """Return the first frame of an image or a video as WebP of at most 40 kB. Raises CorruptMedia."""
    if _is_video(content_type):
        with Image.open(io.BytesIO(make_thumbnail(data))) as frame:
            return _encode(frame, SIDE)
    with open_image(data, content_type) as image:
        # JPEG files are decoded at a fraction of their size.
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        return _encode(image, SIDE)


def _encode(image: Image.Image, side: int) -> bytes:
    small = image.convert("RGBA" if has_alpha(image) else "RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    for quality in QUALITIES:
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=quality, method=2)
        if buffer.tell() <= MAX_BYTES:
            return buffer.getvalue()
    return _encode(small, side // 2)

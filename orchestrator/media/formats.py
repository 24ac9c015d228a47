"""Probe media of any supported format: detect its type and read size, frame count and duration."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from orchestrator.media.errors import CorruptMedia, LosesFrames, UnsupportedMedia
from orchestrator.media.images import (
    ANIMATION_TYPES,
    DEFAULT_QUALITY,
    IMAGE_TYPES,
    convert_image,
    probe_image,
)
from orchestrator.media.sniffing import EXTENSIONS, MediaInfo, detect_content_type
from orchestrator.media.streams import STREAM_TYPES, probe_stream
from orchestrator.media.tensors import check_finite, parse_safetensors_header

__all__ = [
    "ANIMATION_TYPES",
    "EXTENSIONS",
    "CorruptMedia",
    "ImageEncoding",
    "LosesFrames",
    "MediaInfo",
    "convert_image",
    "detect_content_type",
    "probe_media",
]

#: The quality at which a file loses as little as its format allows.
BEST_QUALITY = 100


@dataclass(frozen=True, slots=True)
class ImageEncoding:
    """The image format that the caller asked for. Videos are not converted."""

    content_type: str
    #: JPEG or WebP quality, 1 to 100; None, like 100, to keep images of this format as they are.
    quality: int | None = None
    #: Quality of images of other formats if `quality` is None.
    default_quality: int = field(default=DEFAULT_QUALITY, repr=False)

    def keeps(self, content_type: str) -> bool:
        """Return whether files of this type stay as they are: another encoding would only cost detail."""
        if not content_type.startswith("image/"):
            return True
        is_best = self.quality in (None, BEST_QUALITY) or content_type == "image/png"
        return content_type == self.content_type and is_best

    def encode(self, data: bytes) -> bytes:
        """Convert an image to this format, with all of its frames.

        CPU-bound: call it in a worker thread. Raises CorruptMedia, LosesFrames.
        """
        return convert_image(data, self.content_type, self.quality, self.default_quality)


def probe_media(data: bytes) -> MediaInfo:
    """Return the type, size, frame count and duration of an image, video, audio, mesh or tensor file.

    CPU-bound: call it in a worker thread. Raises CorruptMedia for data that is empty, truncated or broken,
    and UnsupportedMedia for another format.
    """
    if not data:
        raise CorruptMedia("the file is empty")
    content_type = detect_content_type(data)
    if content_type in IMAGE_TYPES:
        return probe_image(data, content_type)
    if content_type in STREAM_TYPES:
        return probe_stream(data, content_type)
    if content_type == "application/octet-stream":
        check_finite(data, parse_safetensors_header(io.BytesIO(data), len(data)))
        return MediaInfo(content_type=content_type)
    if content_type == "model/gltf-binary":
        return _probe_mesh(data, content_type)
    raise UnsupportedMedia(f"{content_type or 'the data'} is not of a supported output format")


def _probe_mesh(data: bytes, content_type: str) -> MediaInfo:
    """Check the length in the glTF header (magic, version and length, four bytes each)."""
    if len(data) < 12 or int.from_bytes(data[8:12], "little") != len(data):
        raise CorruptMedia("the mesh is truncated")
    return MediaInfo(content_type=content_type)

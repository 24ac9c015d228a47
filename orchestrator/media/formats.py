"""Probe media of any supported format: detect its type and read size, frame count and duration."""

from __future__ import annotations

import io
from dataclasses import dataclass

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.images import IMAGE_TYPES, convert_image, probe_image
from orchestrator.media.sniffing import EXTENSIONS, MediaInfo, detect_content_type
from orchestrator.media.streams import STREAM_TYPES, probe_stream
from orchestrator.media.tensors import check_finite, parse_safetensors_header

__all__ = [
    "EXTENSIONS",
    "CorruptMedia",
    "ImageEncoding",
    "MediaInfo",
    "convert_image",
    "detect_content_type",
    "probe_media",
]


@dataclass(frozen=True, slots=True)
class ImageEncoding:
    """The image format that the caller asked for. Videos are not converted."""

    content_type: str
    #: JPEG or WebP quality, 0 to 100; None for the encoder's default.
    quality: int | None = None

    def encode(self, data: bytes) -> bytes:
        """Convert an image to this format. CPU-bound: call it in a worker thread. Raises CorruptMedia."""
        return convert_image(data, self.content_type, self.quality)


def probe_media(data: bytes) -> MediaInfo:
    """Return the type, size, frame count and duration of an image, video, audio, mesh or tensor file.

    CPU-bound: call it in a worker thread. Raises CorruptMedia for data that is empty, truncated, broken or
    of an unsupported format.
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
    raise CorruptMedia(f"{content_type or 'the data'} is not of a supported output format")


def _probe_mesh(data: bytes, content_type: str) -> MediaInfo:
    """Check the length in the glTF header (magic, version and length, four bytes each)."""
    if len(data) < 12 or int.from_bytes(data[8:12], "little") != len(data):
        raise CorruptMedia("the mesh is truncated")
    return MediaInfo(content_type=content_type)

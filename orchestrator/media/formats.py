"""Content types, and what the bytes say of themselves."""

from __future__ import annotations

import io
from dataclasses import dataclass

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.images import IMAGE_TYPES, convert_image, probe_image
from orchestrator.media.info import MediaInfo
from orchestrator.media.sniffing import EXTENSIONS, detect_content_type
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
    """What pictures are stored or delivered as, where the caller chooses. Films stay as they are."""

    content_type: str
    #: 1 to 100, of a JPEG or WebP; None: the encoder's default.
    quality: int | None = None

    def encode(self, data: bytes) -> bytes:
        """CPU work: call it in a worker thread. Raises CorruptMedia for what is no picture."""
        return convert_image(data, self.content_type, self.quality)


def probe_media(data: bytes) -> MediaInfo:
    """Type, and as far as it has them size, frames and length, of a picture, film, sound, mesh or file of
    tensors: CPU work, call it in a worker thread.

    Raises CorruptMedia for data that is empty, cut off, broken or of no format that we deliver.
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
    raise CorruptMedia(f"{content_type or 'the data'} is of no format that can be delivered")


def _probe_mesh(data: bytes, content_type: str) -> MediaInfo:
    """Its header says how long it is: magic, version and length, four bytes each."""
    if len(data) < 12 or int.from_bytes(data[8:12], "little") != len(data):
        raise CorruptMedia("the mesh is cut off")
    return MediaInfo(content_type=content_type)

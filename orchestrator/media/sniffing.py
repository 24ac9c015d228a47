"""Detect the content type of data from its bytes, never from a file name or a declared type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Extension (without the dot) of every content type that `detect_content_type` returns.
EXTENSIONS: Mapping[str, str] = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/bmp": "bmp",
    "image/tiff": "tiff",
    "image/avif": "avif",
    "image/heic": "heic",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "audio/mp4": "m4a",
    "audio/webm": "weba",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "model/gltf-binary": "glb",
    "text/plain": "txt",
    # Safetensors files have no registered content type.
    "application/octet-stream": "safetensors",
}

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"glTF", "model/gltf-binary"),
)
_RIFF_FORMS = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
#: Major brands of ISO base media files; any other brand counts as mp4.
_ISO_BRANDS = {
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"mif1": "image/heic",
    b"msf1": "image/heic",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaInfo:
    """Properties of one media file, read from its bytes."""

    content_type: str
    #: Pixels; None for audio.
    width: int | None = None
    height: int | None = None
    #: Videos and animated images only.
    frames: int | None = None
    #: Frames per second; videos and animated images only.
    fps: float | None = None
    #: Seconds; videos and audio only.
    duration: float | None = None
    has_audio: bool = False

    @property
    def ext(self) -> str:
        """The file extension without the dot."""
        return EXTENSIONS[self.content_type]


def detect_content_type(data: bytes) -> str | None:
    """Return the content type, or None if the leading bytes match no known format."""
    for magic, content_type in _MAGIC:
        if data.startswith(magic):
            return content_type
    if data.startswith(b"RIFF"):
        return _RIFF_FORMS.get(data[8:12])
    if data[4:8] == b"ftyp" and len(data) >= 12:
        return _ISO_BRANDS.get(data[8:12], "video/mp4")
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if b"webm" in data[:64] else "video/x-matroska"
    if data[8:10] == b'{"' and int.from_bytes(data[:8], "little") <= len(data) - 8:
        return "application/octet-stream"
    return "audio/mpeg" if _starts_with_mpeg_frame(data) else None


def _starts_with_mpeg_frame(data: bytes) -> bool:
    """Return whether the data starts with an MPEG audio frame header (MP3 without an ID3 tag)."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return False
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    bitrate, sample_rate = data[2] >> 4, data[2] >> 2 & 3
    # The excluded values are reserved; layer 0 would be AAC in ADTS frames.
    return version != 1 and layer != 0 and bitrate not in (0, 15) and sample_rate != 3

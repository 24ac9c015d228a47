"""Probe video and audio with PyAV. CPU-bound: call it in a worker thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.ffmpeg import ffmpeg_errors, open_media
from orchestrator.media.sniffing import MediaInfo

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

#: FFmpeg's unit of the duration of a file (AV_TIME_BASE), per second.
MICROSECONDS = 1_000_000
#: The detected content type selects the demuxer: FFmpeg's own detection may pick a playlist format, which
#: opens other files and URLs.
DEMUXERS: Mapping[str, str] = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "audio/mp4": "mp4",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
}
STREAM_TYPES = frozenset(DEMUXERS)
#: Content type of a video container that holds audio only.
_AUDIO_ONLY_TYPES = {"video/mp4": "audio/mp4", "video/webm": "audio/webm"}

#: Maximum number of pixels of a frame (8K).
MAX_FRAME_PIXELS = 7680 * 4320

#: Ids of the two top-level elements of a Matroska or WebM file.
_EBML_ID, _SEGMENT_ID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def probe_stream(data: bytes, content_type: str) -> MediaInfo:
    """Return size, frame rate and duration. Raises CorruptMedia if broken, truncated or without a stream."""
    if _declared_length(data) > len(data):
        raise CorruptMedia(f"the {content_type} is truncated")
    try:
        with open_media(data, DEMUXERS[content_type]) as container:
            limit_frame_size(container)
            if container.streams.video:
                return _probe_video(container, container.streams.video[0], content_type)
            if container.streams.audio:
                return _probe_audio(container, _AUDIO_ONLY_TYPES.get(content_type, content_type))
    except ffmpeg_errors(EOFError) as error:
        raise CorruptMedia(f"the {content_type} cannot be decoded: {error}") from error
    raise CorruptMedia(f"the {content_type} has neither a video nor an audio stream")


def limit_frame_size(container: InputContainer) -> None:
    """Check the frame size that the container declares, and have the decoders check the size of each frame.

    FFmpeg checks before it allocates the frame. Raises CorruptMedia, also for an unknown codec.
    """
    for stream in (*container.streams.video, *container.streams.audio):
        if getattr(stream, "codec_context", None) is None:
            raise CorruptMedia(f"the codec of its {stream.type} stream is unknown")
    for stream in container.streams.video:
        if stream.width * stream.height > MAX_FRAME_PIXELS:
            raise CorruptMedia(
                f"the video's frames have {stream.width}x{stream.height} pixels,"
                f" at most {MAX_FRAME_PIXELS} are allowed"
            )
        stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}


def _probe_video(container: InputContainer, stream: VideoStream, content_type: str) -> MediaInfo:
    frames = _count_complete_packets(container, stream)
    if frames < max(1, stream.frames):
        raise CorruptMedia(f"the video has {frames} of its {stream.frames} frames")
    _decode_first_frame(container, stream)
    return MediaInfo(
        content_type=content_type,
        width=stream.width,
        height=stream.height,
        frames=frames,
        fps=float(stream.average_rate) if stream.average_rate else None,
        duration=_duration(container),
        has_audio=bool(container.streams.audio),
    )


def _probe_audio(container: InputContainer, content_type: str) -> MediaInfo:
    stream = container.streams.audio[0]
    if not _count_complete_packets(container, stream):
        raise CorruptMedia("the audio is empty")
    _decode_first_frame(container, stream)
    return MediaInfo(content_type=content_type, duration=_duration(container), has_audio=True)


def _count_complete_packets(container: InputContainer, stream: Stream) -> int:
    """Count the packets that are complete; a video has one per frame."""
    return sum(1 for packet in container.demux(stream) if packet.size and not packet.is_corrupt)


def _decode_first_frame(container: InputContainer, stream: Stream) -> None:
    """Raise CorruptMedia if the decoder produces no frame, as for a header without data."""
    container.seek(0)
    if next(container.decode(stream), None) is None:
        raise CorruptMedia("no frame of it can be decoded")


def _duration(container: InputContainer) -> float | None:
    return container.duration / MICROSECONDS if container.duration else None


def _declared_length(data: bytes) -> int:
    """Return the length in bytes that the outermost container declares, or 0 if it declares none.

    FFmpeg does not report a truncated RIFF or Matroska file: it reads what is there.
    """
    if data.startswith(b"RIFF"):
        size = int.from_bytes(data[4:8], "little")
        return 0 if size == 0xFFFFFFFF else 8 + size
    if data.startswith(_EBML_ID):
        size, start = _read_ebml_size(data, len(_EBML_ID))
        segment = start + size
        if data[segment : segment + 4] == _SEGMENT_ID:
            size, start = _read_ebml_size(data, segment + 4)
            return start + size
    return 0


def _read_ebml_size(data: bytes, offset: int) -> tuple[int, int]:
    """Return the size of an element's content (0 if unknown) and the offset at which it starts."""
    width = 9 - data[offset].bit_length() if offset < len(data) else 9
    if width > 8:
        raise CorruptMedia("the video is truncated")
    unknown_size = (1 << 7 * width) - 1
    size = int.from_bytes(data[offset : offset + width], "big") & unknown_size
    return (0 if size == unknown_size else size), offset + width

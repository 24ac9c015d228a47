"""Read input videos that callers send as base64, a data URL, an upload or a URL."""

from __future__ import annotations

import hashlib
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from orchestrator.media.inputs.input_streams import read_stream_file
from orchestrator.media.inputs.payloads import FetchUrl, InputRejected
from orchestrator.media.sniffing import EXTENSIONS, detect_content_type
from orchestrator.media.streams import probe_stream

VIDEO_FORMATS = frozenset({"video/mp4", "video/quicktime", "video/webm", "video/x-matroska"})


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoLimits:
    """Limits on one input video."""

    #: Size of the file after base64 decoding.
    max_bytes: int = 128 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class InputVideo:
    """A video whose streams are complete; its frames are decoded by the instance."""

    data: bytes
    content_type: str
    #: Pixels of a frame.
    width: int
    height: int
    frames: int
    fps: float
    #: Hexadecimal SHA-256 of `data`.
    sha256: str

    @property
    def ext(self) -> str:
        """The file extension without the dot."""
        return EXTENSIONS[self.content_type]

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


async def read_video(
    value: str | bytes,
    *,
    limits: VideoLimits,
    param: str = "video",
    fetch: FetchUrl | None = None,
    probe_slot: AbstractAsyncContextManager[None] | None = None,
) -> InputVideo:
    """Read a video from base64 text, a data URL, uploaded bytes or a URL (see `read_image`).

    `probe_slot` is held while the video is read, not while it is downloaded. Raises what it raises, and
    InvalidRequest with `param` and one of the codes `invalid_video`, `video_too_large`,
    `unsupported_video_format`, `video_url_refused`, `video_url_unreachable`; `video_url_not_supported` if
    `fetch` is None.
    """
    return await read_stream_file(
        "video",
        value,
        _inspect_video,
        max_bytes=limits.max_bytes,
        param=param,
        fetch=fetch,
        probe_slot=probe_slot,
    )


def _inspect_video(data: bytes) -> InputVideo:
    content_type = detect_content_type(data)
    if content_type not in VIDEO_FORMATS:
        names = ", ".join(sorted(EXTENSIONS[name] for name in VIDEO_FORMATS))
        raise InputRejected("unsupported_video_format", f"The file is not a supported video ({names}).")
    info = probe_stream(data, content_type)
    if not (info.width and info.height and info.frames and info.fps):
        raise InputRejected("invalid_video", "The file has no video stream with a frame rate.")
    return InputVideo(
        data=data,
        content_type=content_type,
        width=info.width,
        height=info.height,
        frames=info.frames,
        fps=info.fps,
        sha256=hashlib.sha256(data).hexdigest(),
    )

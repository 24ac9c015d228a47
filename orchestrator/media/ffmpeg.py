"""Opens media with PyAV, which is imported when media is read first: it takes 20 MB, and images need none."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer


def open_media(data: bytes, demuxer: str) -> InputContainer:
    """Open a file with FFmpeg's demuxer of that name. Raises one of `ffmpeg_errors`."""
    import av

    return av.open(io.BytesIO(data), "r", format=demuxer)


def ffmpeg_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the errors with which PyAV refuses a file, and others. Call it in the `except` clause itself."""
    import av

    return (av.FFmpegError, ValueError, *others)

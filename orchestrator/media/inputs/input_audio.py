"""Read input audio that callers send as base64, a data URL, an upload or a URL."""

from __future__ import annotations

import hashlib
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from orchestrator.media.inputs.input_streams import read_stream_file
from orchestrator.media.inputs.payloads import FetchUrl, InputRejected
from orchestrator.media.sniffing import EXTENSIONS, detect_content_type
from orchestrator.media.streams import STREAM_TYPES, probe_stream


@dataclass(frozen=True, kw_only=True, slots=True)
class InputAudio:
    """Audio whose stream is complete; the instance decodes it."""

    data: bytes
    content_type: str
    seconds: float
    #: Hexadecimal SHA-256 of `data`.
    sha256: str

    @property
    def ext(self) -> str:
        """The file extension without the dot."""
        return EXTENSIONS[self.content_type]


async def read_audio(
    value: str | bytes,
    *,
    max_bytes: int,
    param: str = "audio",
    fetch: FetchUrl | None = None,
    probe_slot: AbstractAsyncContextManager[None] | None = None,
) -> InputAudio:
    """Read audio from base64 text, a data URL, uploaded bytes or a URL, also the sound of a video.

    `max_bytes` limits the file after base64 decoding; `probe_slot` is held while it is read, not while it is
    downloaded. Raises InvalidRequest with `param` and a code such as `invalid_audio` or `audio_too_large`,
    and what `fetch` raises.
    """
    return await read_stream_file(
        "audio",
        value,
        _inspect_audio,
        max_bytes=max_bytes,
        param=param,
        fetch=fetch,
        probe_slot=probe_slot,
    )


def _inspect_audio(data: bytes) -> InputAudio:
    content_type = detect_content_type(data)
    if content_type not in STREAM_TYPES:
        names = ", ".join(sorted(EXTENSIONS[name] for name in STREAM_TYPES))
        raise InputRejected("unsupported_audio_format", f"The file is not supported audio ({names}).")
    info = probe_stream(data, content_type)
    if not info.has_audio or not info.duration:
        raise InputRejected("invalid_audio", "The file has no audio of a known length.")
    return InputAudio(
        data=data,
        content_type=info.content_type,
        seconds=info.duration,
        sha256=hashlib.sha256(data).hexdigest(),
    )

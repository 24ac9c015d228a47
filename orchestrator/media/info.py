"""What is known of one piece of media."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.media.sniffing import EXTENSIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaInfo:
    """Found in the bytes themselves."""

    content_type: str
    #: Pixels; None for sound.
    width: int | None = None
    height: int | None = None
    #: Films and animated pictures only.
    frames: int | None = None
    #: Frames per second; films and animated pictures only.
    fps: float | None = None
    #: Seconds; films and sound only.
    duration: float | None = None
    has_audio: bool = False

    @property
    def ext(self) -> str:
        """Extension without the dot."""
        return EXTENSIONS[self.content_type]

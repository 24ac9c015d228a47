"""The length of a video in responses."""

from __future__ import annotations

from typing import Any

from orchestrator.jobs import Output


def video_length(output: Output) -> dict[str, Any]:
    """Return the fields `frames`, `fps` and `seconds` of a video; {} for another output."""
    if not output.frames or not output.fps:
        return {}
    return {"frames": output.frames, "fps": output.fps, "seconds": output.frames / output.fps}

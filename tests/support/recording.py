"""What a real ComfyUI 0.33.0 said, recorded on the CPU; tracebacks cut, paths shortened."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

RECORDING = Path(__file__).parents[1] / "unit" / "instances" / "recorded" / "comfyui-0.33.0.json"


@dataclass(frozen=True)
class RecordedRun:
    """One prompt: its graph, all frames that its socket delivered, its history afterwards."""

    prompt_id: str
    graph: dict[str, Any]
    frames: list[str | bytes]
    history: dict[str, Any]
    #: `/queue` while it ran, where it was asked.
    queue: dict[str, Any] | None


@cache
def recording() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(RECORDING.read_text())
    return document


def recorded_run(name: str) -> RecordedRun:
    row = recording()["runs"][name]
    frames = [f if isinstance(f, str) else base64.b64decode(f["binary"]) for f in row["frames"]]
    return RecordedRun(row["prompt_id"], row["graph"], frames, row["history"], row.get("queue"))


def recorded_names() -> list[str]:
    return list(recording()["runs"])

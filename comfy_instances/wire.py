"""From the frames of a ComfyUI socket to messages. Pure.

`parse(frame)` never raises: a frame that is unknown, broken or of a later protocol becomes `Unknown`.
The same events stand in a history entry (`status.messages`); `parse_event` reads them there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from comfy_instances.messages import (
    Executed,
    Executing,
    ExecutionCached,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    FeatureFlags,
    ImageFrame,
    Message,
    NodeProgress,
    NodeState,
    ProgressState,
    Status,
    TextFrame,
    Unknown,
)

#: What reading the wrong shape may raise; whatever it is, the message becomes `Unknown`.
_MISREAD = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


def parse(frame: str | bytes) -> Message:
    """The message in one frame of the socket."""
    try:
        if isinstance(frame, bytes):
            return _binary(frame)
        envelope = json.loads(frame)
        return parse_event(envelope["type"], envelope.get("data", {}))
    except _MISREAD:
        return Unknown("")


def parse_event(type_: str, data: Any) -> Message:
    """The message of a JSON event, from the socket or from a history entry."""
    reader = _EVENTS.get(type_) if isinstance(type_, str) else None
    if reader is None:
        return Unknown(str(type_))
    try:
        return reader(data)
    except _MISREAD:
        return Unknown(type_)


def _status(data: Any) -> Status:
    remaining = data.get("status", {}).get("exec_info", {}).get("queue_remaining")
    return Status(None if remaining is None else int(remaining), data.get("sid"))


def _feature_flags(data: Any) -> FeatureFlags:
    return FeatureFlags(dict(data))


def _execution_start(data: Any) -> ExecutionStart:
    return ExecutionStart(str(data["prompt_id"]), _seconds(data))


def _execution_cached(data: Any) -> ExecutionCached:
    return ExecutionCached(str(data["prompt_id"]), tuple(map(str, data["nodes"])), _seconds(data))


def _executing(data: Any) -> Executing:
    return Executing(_optional(data, "prompt_id"), _optional(data, "node"))


def _progress(data: Any) -> NodeProgress:
    return NodeProgress(str(data["prompt_id"]), str(data["node"]), float(data["value"]), float(data["max"]))


def _progress_state(data: Any) -> ProgressState:
    nodes = (
        NodeState(str(node), str(row["state"]), float(row["value"]), float(row["max"]))
        for node, row in data["nodes"].items()
    )
    return ProgressState(str(data["prompt_id"]), tuple(nodes))


def _executed(data: Any) -> Executed:
    return Executed(str(data["prompt_id"]), str(data["node"]), dict(data.get("output") or {}))


def _execution_success(data: Any) -> ExecutionSuccess:
    return ExecutionSuccess(str(data["prompt_id"]), _seconds(data))


def _execution_error(data: Any) -> ExecutionError:
    return ExecutionError(
        prompt_id=str(data["prompt_id"]),
        node_id=str(data.get("node_id", "")),
        node_type=str(data.get("node_type", "")),
        exception_type=str(data.get("exception_type", "")),
        exception_message=str(data.get("exception_message", "")).strip(),
        traceback=tuple(map(str, data.get("traceback") or ())),
        timestamp=_seconds(data),
    )


def _execution_interrupted(data: Any) -> ExecutionInterrupted:
    return ExecutionInterrupted(
        prompt_id=str(data["prompt_id"]),
        node_id=str(data.get("node_id", "")),
        node_type=str(data.get("node_type", "")),
        timestamp=_seconds(data),
    )


_EVENTS: Mapping[str, Callable[[Any], Message]] = {
    "status": _status,
    "feature_flags": _feature_flags,
    "execution_start": _execution_start,
    "execution_cached": _execution_cached,
    "executing": _executing,
    "progress": _progress,
    "progress_state": _progress_state,
    "executed": _executed,
    "execution_success": _execution_success,
    "execution_error": _execution_error,
    "execution_interrupted": _execution_interrupted,
}

#: The first four bytes of a binary frame.
_PREVIEW, _TEXT, _PREVIEW_WITH_METADATA = 1, 3, 4
_PICTURE_FORMATS = {1: "image/jpeg", 2: "image/png"}


def _binary(frame: bytes) -> Message:
    """Four bytes of event, four bytes that say more (a format, or the length of a header), the rest."""
    if len(frame) < 8:
        return Unknown("binary")
    event = int.from_bytes(frame[:4], "big")
    word = int.from_bytes(frame[4:8], "big")
    if event == _PREVIEW:
        return ImageFrame(_PICTURE_FORMATS[word], frame[8:])
    if event not in (_TEXT, _PREVIEW_WITH_METADATA) or len(frame) < 8 + word:
        return Unknown(f"binary {event}")
    header, body = frame[8 : 8 + word], frame[8 + word :]
    if event == _TEXT:
        return TextFrame(header.decode(), body.decode(errors="replace"))
    about = json.loads(header)
    return ImageFrame(
        str(about["image_type"]), body, _optional(about, "prompt_id"), _optional(about, "node_id")
    )


def _optional(data: Any, key: str) -> str | None:
    value = data.get(key)
    return None if value is None else str(value)


def _seconds(data: Any) -> float | None:
    value = data.get("timestamp")
    return None if value is None else float(value) / 1000

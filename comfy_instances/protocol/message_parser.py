"""Parses the frames of a ComfyUI websocket into messages. Pure.

`parse_frame` never raises: an unknown or malformed frame, or one of a later protocol, becomes an
`UnknownMessage`. `parse_event` also parses the events in a history entry (`status.messages`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from comfy_instances.protocol.delivery import ENCODED_EVENT, parse_snapshot
from comfy_instances.protocol.messages import (
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
    ResultsEncoded,
    StatusMessage,
    TextFrame,
    UnknownMessage,
)

#: Errors that malformed data can cause; each makes the message an `UnknownMessage`.
_PARSE_ERRORS = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


def parse_frame(frame: str | bytes) -> Message:
    """Parse one frame of the socket."""
    try:
        if isinstance(frame, bytes):
            return _parse_binary_frame(frame)
        envelope = json.loads(frame)
        return parse_event(envelope["type"], envelope.get("data", {}))
    except _PARSE_ERRORS:
        return UnknownMessage("")


def parse_event(type_: str, data: Any) -> Message:
    """Parse a JSON event, from the socket or from a history entry."""
    parser = _EVENT_PARSERS.get(type_) if isinstance(type_, str) else None
    if parser is None:
        return UnknownMessage(str(type_))
    try:
        return parser(data)
    except _PARSE_ERRORS:
        return UnknownMessage(type_)


def _parse_status(data: Any) -> StatusMessage:
    remaining = data.get("status", {}).get("exec_info", {}).get("queue_remaining")
    return StatusMessage(None if remaining is None else int(remaining), data.get("sid"))


def _parse_feature_flags(data: Any) -> FeatureFlags:
    return FeatureFlags(dict(data))


def _parse_execution_start(data: Any) -> ExecutionStart:
    return ExecutionStart(str(data["prompt_id"]), _timestamp_seconds(data))


def _parse_execution_cached(data: Any) -> ExecutionCached:
    return ExecutionCached(str(data["prompt_id"]), tuple(map(str, data["nodes"])), _timestamp_seconds(data))


def _parse_executing(data: Any) -> Executing:
    return Executing(_optional_text(data, "prompt_id"), _optional_text(data, "node"))


def _parse_progress(data: Any) -> NodeProgress:
    return NodeProgress(str(data["prompt_id"]), str(data["node"]), float(data["value"]), float(data["max"]))


def _parse_progress_state(data: Any) -> ProgressState:
    nodes = (
        NodeState(str(node), str(row["state"]), float(row["value"]), float(row["max"]))
        for node, row in data["nodes"].items()
    )
    return ProgressState(str(data["prompt_id"]), tuple(nodes))


def _parse_executed(data: Any) -> Executed:
    return Executed(str(data["prompt_id"]), str(data["node"]), dict(data.get("output") or {}))


def _parse_execution_success(data: Any) -> ExecutionSuccess:
    return ExecutionSuccess(str(data["prompt_id"]), _timestamp_seconds(data))


def _parse_execution_error(data: Any) -> ExecutionError:
    return ExecutionError(
        prompt_id=str(data["prompt_id"]),
        node_id=str(data.get("node_id", "")),
        node_type=str(data.get("node_type", "")),
        exception_type=str(data.get("exception_type", "")),
        exception_message=str(data.get("exception_message", "")).strip(),
        traceback=tuple(map(str, data.get("traceback") or ())),
        timestamp=_timestamp_seconds(data),
    )


def _parse_execution_interrupted(data: Any) -> ExecutionInterrupted:
    return ExecutionInterrupted(
        prompt_id=str(data["prompt_id"]),
        node_id=str(data.get("node_id", "")),
        node_type=str(data.get("node_type", "")),
        timestamp=_timestamp_seconds(data),
    )


def _parse_results_encoded(data: Any) -> ResultsEncoded:
    return ResultsEncoded(str(data["prompt_id"]), parse_snapshot(data))


_EVENT_PARSERS: Mapping[str, Callable[[Any], Message]] = {
    "status": _parse_status,
    "feature_flags": _parse_feature_flags,
    "execution_start": _parse_execution_start,
    "execution_cached": _parse_execution_cached,
    "executing": _parse_executing,
    "progress": _parse_progress,
    "progress_state": _parse_progress_state,
    "executed": _parse_executed,
    "execution_success": _parse_execution_success,
    "execution_error": _parse_execution_error,
    "execution_interrupted": _parse_execution_interrupted,
    ENCODED_EVENT: _parse_results_encoded,
}

#: Event codes, the first four bytes of a binary frame.
_PREVIEW_EVENT, _TEXT_EVENT, _PREVIEW_WITH_METADATA_EVENT = 1, 3, 4
_IMAGE_CONTENT_TYPES = {1: "image/jpeg", 2: "image/png"}


def _parse_binary_frame(frame: bytes) -> Message:
    """Parse four bytes of event code, four bytes of image format or header length, and the rest."""
    if len(frame) < 8:
        return UnknownMessage("binary")
    event = int.from_bytes(frame[:4], "big")
    word = int.from_bytes(frame[4:8], "big")
    if event == _PREVIEW_EVENT:
        return ImageFrame(_IMAGE_CONTENT_TYPES[word], frame[8:])
    if event not in (_TEXT_EVENT, _PREVIEW_WITH_METADATA_EVENT) or len(frame) < 8 + word:
        return UnknownMessage(f"binary {event}")
    header, body = frame[8 : 8 + word], frame[8 + word :]
    if event == _TEXT_EVENT:
        return TextFrame(header.decode(), body.decode(errors="replace"))
    metadata = json.loads(header)
    return ImageFrame(
        content_type=str(metadata["image_type"]),
        data=body,
        prompt_id=_optional_text(metadata, "prompt_id"),
        node=_optional_text(metadata, "node_id"),
    )


def _optional_text(data: Any, key: str) -> str | None:
    value = data.get(key)
    return None if value is None else str(value)


def _timestamp_seconds(data: Any) -> float | None:
    value = data.get("timestamp")
    return None if value is None else float(value) / 1000

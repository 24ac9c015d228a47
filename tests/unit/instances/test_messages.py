"""Frames of a real server, and of no server at all, as messages."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_instances.protocol.message_parser import parse_event, parse_frame
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
    StatusMessage,
    TextFrame,
    UnknownMessage,
)
from tests.support.recording import recorded_names, recorded_run


def heard(name: str) -> list[Message]:
    return [parse_frame(frame) for frame in recorded_run(name).frames]


def event(type_: str, **data: Any) -> Message:
    return parse_frame(json.dumps({"type": type_, "data": data}))


@pytest.mark.parametrize("name", recorded_names())
def test_understands_every_message_of_a_real_server(name: str) -> None:
    assert [message for message in heard(name) if isinstance(message, UnknownMessage)] == []


def test_a_plain_run_message_by_message() -> None:
    run = recorded_run("happy")
    messages = heard("happy")
    assert isinstance(messages[0], StatusMessage)
    assert messages[0].sid is not None
    assert isinstance(messages[1], FeatureFlags)
    assert messages[1].flags["max_upload_size"] == 100 * 2**20
    assert messages[2] == StatusMessage(queue_remaining=1, sid=None)
    start, success = messages[4], messages[-3]
    assert isinstance(start, ExecutionStart)
    assert isinstance(success, ExecutionSuccess)
    assert start.timestamp is not None
    assert success.timestamp is not None
    assert 1.7e9 < start.timestamp <= success.timestamp < start.timestamp + 1
    assert messages[-1] == Executing(run.prompt_id, None)
    assert [m.node for m in messages if isinstance(m, Executing)] == ["1", "2", "3", None]
    assert [m for m in messages if isinstance(m, Executed)] == [
        Executed(
            run.prompt_id,
            "3",
            {"images": [{"filename": "recorded-a_00001_.png", "subfolder": "", "type": "output"}]},
        )
    ]
    states = [m for m in messages if isinstance(m, ProgressState)]
    assert states[0].nodes == (NodeState("1", "running", 0.0, 1.0),)
    assert {row.state for row in states[-1].nodes} == {"finished"}


def test_a_second_run_of_the_same_graph_is_cached() -> None:
    (cached,) = (m for m in heard("cached") if isinstance(m, ExecutionCached))
    assert set(cached.nodes) == {"1", "2", "3"}


def test_a_node_that_fails() -> None:
    (error,) = (m for m in heard("broken") if isinstance(m, ExecutionError))
    assert (error.node_id, error.node_type) == ("1", "LoadImage")
    assert error.exception_type == "PIL.UnidentifiedImageError"
    assert error.exception_message.startswith("cannot identify image file")
    assert error.traceback
    assert error.ends_prompt


def test_a_blocked_branch_does_not_end_its_prompt() -> None:
    error = event("execution_error", prompt_id="p", exception_type="ExecutionBlocked")
    assert isinstance(error, ExecutionError)
    assert not error.ends_prompt


def test_an_interrupted_run() -> None:
    (end,) = (m for m in heard("interrupted") if isinstance(m, ExecutionInterrupted))
    assert end.node_type == "ImageScale"


def test_an_image_with_metadata() -> None:
    (frame,) = (m for m in heard("socket_image") if isinstance(m, ImageFrame))
    run = recorded_run("socket_image")
    assert (frame.prompt_id, frame.node, frame.content_type) == (run.prompt_id, "2", "image/png")
    assert frame.data.startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize(("format_", "content_type"), [(1, "image/jpeg"), (2, "image/png")])
def test_an_image_without_metadata(format_: int, content_type: str) -> None:
    assert parse_frame(struct.pack(">II", 1, format_) + b"pixels") == ImageFrame(content_type, b"pixels")


def test_a_text_frame() -> None:
    frame = struct.pack(">II", 3, 2) + b"12" + "Größe \N{SNOWMAN}".encode()
    assert parse_frame(frame) == TextFrame("12", "Größe \N{SNOWMAN}")


def test_progress_of_a_node() -> None:
    expected = NodeProgress("p", "7", 3.0, 20.0)
    assert event("progress", prompt_id="p", node="7", value=3, max=20) == expected


def test_the_status_after_a_reconnect_names_no_prompt() -> None:
    assert event("executing", node="2") == Executing(None, "2")


def test_a_cached_node_that_shows_nothing() -> None:
    assert event("executed", prompt_id="p", node="2", output=None) == Executed("p", "2", {})


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"type": 5}',
        '{"type": ["progress"], "data": {}}',
        '{"type": "crystools.monitor", "data": {"cpu": 1}}',
        '{"type": "progress", "data": null}',
        '{"type": "progress", "data": {"prompt_id": "p", "node": "1", "value": "x", "max": 2}}',
        '{"type": "progress_state", "data": {"prompt_id": "p", "nodes": [1]}}',
        '{"type": "status", "data": {"status": 3}}',
        '{"type": "execution_start", "data": {"prompt_id": "p", "timestamp": "soon"}}',
        '{"type": "progress", "data": {"prompt_id": "p", "node": "1", "value": 1'
        + "0" * 400
        + ', "max": 2}}',
        "[" * 100_000,
        b"",
        b"\0\0\0\1",
        b"\0\0\0\1\0\0\0\7pixels",
        b"\0\0\0\2\0\0\0\1pixels",
        b"\0\0\0\3\0\0\1\0short",
        b"\0\0\0\4\0\0\0\2{}pixels",
        b"\0\0\0\4\0\0\0\2{]pixels",
        b"\0\0\0\4\xff\xff\xff\xffpixels",
    ],
)
def test_unreadable_messages_are_unknown(frame: str | bytes) -> None:
    assert isinstance(parse_frame(frame), UnknownMessage)


def test_an_unknown_event_keeps_its_name() -> None:
    assert event("crystools.monitor", cpu=1) == UnknownMessage("crystools.monitor")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_keys = st.sampled_from(
    ["prompt_id", "node", "nodes", "value", "max", "output", "timestamp", "status", "sid", "traceback"]
)
_events = st.sampled_from(
    ["status", "progress", "progress_state", "executing", "executed", "execution_cached", "execution_error"]
)


@given(_events, st.dictionaries(_keys, _json, max_size=6) | _json)
def test_no_data_makes_the_parser_raise(type_: str, data: Any) -> None:
    parse_event(type_, data)


@given(st.text() | st.binary() | st.integers(0, 5).flatmap(lambda n: st.binary().map(lambda b: bytes(4) + b)))
def test_no_frame_makes_the_parser_raise(frame: str | bytes) -> None:
    parse_frame(frame)


@given(st.integers(0, 5), st.integers(0, 12), st.binary(max_size=20))
def test_no_binary_frame_makes_the_parser_raise(event_: int, word: int, rest: bytes) -> None:
    parse_frame(struct.pack(">II", event_, word) + rest)

"""What an instance knows of its prompts and of itself, read from its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfy_instances.protocol.history import InstanceQueue, parse_history, parse_queue
from comfy_instances.protocol.messages import Executed, ExecutionError, ExecutionInterrupted, ExecutionSuccess
from comfy_instances.protocol.outputs import FileRef, NodeOutput, parse_outputs
from comfy_instances.protocol.rejections import format_node_errors, parse_graph_rejection
from comfy_instances.protocol.system_stats import DeviceStats, parse_system_stats
from tests.support.recording import recorded_run, recording


def test_a_recorded_queue() -> None:
    run = recorded_run("interrupted")
    queue = parse_queue(run.queue)
    assert len(queue) == 1
    assert queue.is_running(run.prompt_id)
    entry = queue.find(run.prompt_id)
    assert entry is not None
    assert entry.graph == run.graph
    assert entry.client_id is not None
    assert queue.find("another") is None


def test_what_waits_does_not_run() -> None:
    queue = parse_queue({"queue_running": [], "queue_pending": [[3, "p", {}, {}, []]]})
    assert not queue.is_running("p")
    assert queue.find("p") is not None
    assert len(InstanceQueue()) == 0


@pytest.mark.parametrize("body", [None, [], {}, {"queue_running": [], "queue_pending": [["short"]]}])
def test_rejects_an_invalid_queue(body: Any) -> None:
    with pytest.raises(ValueError, match="queue"):
        parse_queue(body)


def test_a_recorded_history_ends_with_the_end() -> None:
    run = recorded_run("happy")
    record = parse_history(run.history, run.prompt_id)
    assert record is not None
    assert isinstance(record[-2], Executed)
    assert isinstance(record[-1], ExecutionSuccess)


def test_distinguishes_a_recorded_interruption_from_an_error() -> None:
    run = recorded_run("interrupted")
    assert run.history[run.prompt_id]["status"]["status_str"] == "error"
    record = parse_history(run.history, run.prompt_id)
    assert record is not None
    assert isinstance(record[-1], ExecutionInterrupted)


def test_no_history_yet() -> None:
    assert parse_history({}, "p") is None


def test_a_history_without_messages_ends_by_its_status() -> None:
    success = {"outputs": {}, "status": {"status_str": "success"}}
    assert parse_history({"p": success}, "p") == [ExecutionSuccess("p", None)]


@pytest.mark.parametrize("status", [{"status_str": "error"}, {}, None])
def test_a_history_without_messages_is_no_success_by_itself(status: Any) -> None:
    record = parse_history({"p": {"outputs": {}, "status": status}}, "p")
    assert record is not None
    assert isinstance(record[-1], ExecutionError)


@pytest.mark.parametrize("body", [None, [], {"p": 5}, {"p": {"outputs": [], "status": {}}}])
def test_rejects_an_invalid_history(body: Any) -> None:
    with pytest.raises(ValueError, match="history"):
        parse_history(body, "p")


def test_every_key_of_a_node_is_an_output() -> None:
    output = {
        "images": [{"filename": "a.png", "subfolder": "x", "type": "temp"}],
        "gifs": [{"filename": "b.mp4", "subfolder": None, "type": "output", "format": "video/h264-mp4"}],
        "audio": [{"filename": "c.flac"}],
        "3d": [{"filename": "d.glb", "type": "output"}],
        "text": ["one", ["two"]],
        "prompt": "three",
        "animated": [True],
        "size": [16, 9.5, None, {"width": 3}],
    }
    assert parse_outputs("7", output) == (
        NodeOutput("7", "images", FileRef("a.png", "x", "temp")),
        NodeOutput("7", "gifs", FileRef("b.mp4")),
        NodeOutput("7", "audio", FileRef("c.flac")),
        NodeOutput("7", "3d", FileRef("d.glb")),
        NodeOutput("7", "text", text="one"),
        NodeOutput("7", "text", text="two"),
        NodeOutput("7", "prompt", text="three"),
    )


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("3d/mine_00001.ply", FileRef("mine_00001.ply", "3d")),
        ("a/b\\mine_00001.GLB", FileRef("mine_00001.GLB", "a/b")),
        ("mine_00001.ksplat", FileRef("mine_00001.ksplat")),
    ],
)
def test_a_3d_file_that_a_node_reports_by_its_path_is_a_file(path: str, file: FileRef) -> None:
    """As Save3DAdvanced, SaveGaussianSplat and SavePointCloud report it."""
    assert parse_outputs("7", {"result": [path, None, []]}) == (NodeOutput("7", "3d", file),)


def test_another_result_is_a_text() -> None:
    assert parse_outputs("7", {"result": ["done", None]}) == (NodeOutput("7", "result", text="done"),)
    assert parse_outputs("7", {"result": []}) == ()


def test_recorded_stats() -> None:
    stats = parse_system_stats(recording()["system_stats"])
    assert stats.version == "0.33.0"
    assert stats.argv[0] == "main.py"
    assert stats.devices[0].type == "cpu"
    assert stats.devices[0].vram_total == stats.ram_total > stats.ram_free > 0


def test_stats_of_a_gpu() -> None:
    row = {"name": "cuda:0 NVIDIA", "type": "cuda", "index": 0, "vram_total": 96, "vram_free": 90, "more": 1}
    stats = parse_system_stats({"system": {}, "devices": [row]})
    assert stats.devices == (DeviceStats("cuda:0 NVIDIA", "cuda", 0, 96, 90),)
    assert stats.version is None


@pytest.mark.parametrize("body", [None, [], {"system": {}}, {"system": {}, "devices": [{}]}])
def test_rejects_invalid_statistics(body: Any) -> None:
    with pytest.raises(ValueError, match="stats"):
        parse_system_stats(body)


def test_a_recorded_refusal_names_node_and_input() -> None:
    error = parse_graph_rejection(json.dumps(recording()["refusals"]["missing_input"]["body"]))
    assert error.error_type == "prompt_outputs_failed_validation"
    assert (
        error.message == "Prompt outputs failed validation: node 2 (SaveImage): required_input_missing images"
    )
    assert list(error.node_errors) == ["2"]


def test_a_recorded_refusal_keeps_the_servers_paths_out_of_its_message() -> None:
    error = parse_graph_rejection(json.dumps(recording()["refusals"]["dangling_link"]["body"]))
    assert "/comfyui" in str(error.node_errors)
    assert "/comfyui" not in error.message


def test_a_recorded_half_acceptance() -> None:
    half = recording()["refusals"]["half"]
    assert half["status"] == 200
    assert format_node_errors(half["body"]["node_errors"]) == [
        "node 3 (SaveImage): required_input_missing images"
    ]


@pytest.mark.parametrize("body", ["", "<html>", "[]", '{"error": "no"}', '{"error": {"type": 1}}'])
def test_a_rejection_without_a_reason(body: str) -> None:
    assert "gives no reason" in parse_graph_rejection(body).message


def history_of_training(**status: Any) -> dict[str, Any]:
    graph = {"save": {"class_type": "SaveLoRA", "inputs": {"lora": ["train", 0], "prefix": "loras/pf-p"}}}
    entry = {"prompt": [0, "p", graph, {}, ["save"]], "outputs": {}, "status": status}
    return {"p": entry}


def test_reports_a_file_saved_without_a_message() -> None:
    record = parse_history(history_of_training(status_str="success"), "p")
    assert record is not None
    told, end = record
    assert isinstance(told, Executed)
    file = FileRef("pf-p_00001_.safetensors", "loras")
    assert parse_outputs(told.node, told.output) == (NodeOutput("save", "files", file),)
    assert isinstance(end, ExecutionSuccess)


def test_what_failed_has_saved_nothing() -> None:
    record = parse_history(history_of_training(status_str="error"), "p")
    assert record is not None
    assert [type(message) for message in record] == [ExecutionError]

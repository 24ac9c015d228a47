"""Which instances deliver results themselves, and what their graphs look like."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from comfy_instances.protocol.delivery import (
    FILES_CLASS,
    IMAGES_CLASS,
    PROTOCOL,
    DeliveryState,
    PackState,
    find_pack_state,
    parse_snapshot,
    replace_savers,
)
from comfy_instances.protocol.node_facts import load_core_node_facts, load_pack_node_facts
from comfy_instances.protocol.outputs import parse_outputs
from orchestrator.catalog.checks.graph_checks import validate_graph

FACTS: dict[str, Any] = {**load_core_node_facts(), **load_pack_node_facts()}
BLANK = {
    "class_type": "EmptyImage",
    "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0},
}
SAVER = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "result"}}
VIDEO = {
    "1": BLANK,
    "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8.0}},
    "3": {
        "class_type": "SaveVideo",
        "inputs": {"video": ["2", 0], "filename_prefix": "clip", "format": "mp4", "codec": "h264"},
    },
}


def test_a_saver_keeps_its_id_and_its_prefix() -> None:
    graph = {"1": BLANK, "9": SAVER}
    before = copy.deepcopy(graph)
    made = replace_savers(graph, ["9"], content_type="image/webp", quality=70, metadata="<x/>")
    assert graph == before
    assert made["1"] == BLANK
    assert made["9"]["class_type"] == IMAGES_CLASS
    assert made["9"]["inputs"] == {
        "images": ["1", 0],
        "filename_prefix": "result",
        "format": "image/webp",
        "quality": 70,
        "protocol": str(PROTOCOL),
        "metadata": "<x/>",
    }
    assert [str(one) for one in validate_graph(made, FACTS, set())] == []


def test_a_video_saver_is_named_with_its_arguments() -> None:
    made = replace_savers(VIDEO, ["3"])
    inputs = made["3"]["inputs"]
    assert made["3"]["class_type"] == FILES_CLASS
    assert (inputs["saver"], inputs["value"], inputs["value_input"]) == ("SaveVideo", ["2", 0], "video")
    assert json.loads(inputs["arguments"]) == {"format": "mp4", "codec": "h264"}
    assert (inputs["prefix_input"], inputs["filename_prefix"]) == ("filename_prefix", "clip")
    assert [str(one) for one in validate_graph(made, FACTS, set())] == []


@pytest.mark.parametrize(
    "graph",
    [
        {"1": BLANK, "9": SAVER, "10": {"class_type": "PreviewImage", "inputs": {"images": ["9", 0]}}},
        {"1": BLANK, "9": {"class_type": "VHS_VideoCombine", "inputs": {"images": ["1", 0]}}},
        {"1": BLANK, "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "no link"}}},
        {
            "1": BLANK,
            "2": BLANK,
            "9": {
                "class_type": "SaveVideo",
                "inputs": {"video": ["1", 0], "filename_prefix": "a", "format": ["2", 0]},
            },
        },
    ],
)
def test_what_is_used_or_unknown_stays(graph: dict[str, Any]) -> None:
    assert replace_savers(graph, ["9"]) == graph


def test_nodes_that_are_no_outputs_of_the_model_stay() -> None:
    graph = {"1": BLANK, "8": SAVER, "9": SAVER}
    assert replace_savers(graph, ["9"])["8"] == SAVER


def versions(*names: str) -> dict[str, Any]:
    facts = copy.deepcopy(FACTS)
    facts[IMAGES_CLASS]["input"]["required"]["protocol"] = [list(names)]
    return facts


def test_knows_packs_of_other_versions() -> None:
    old = {name: entry for name, entry in FACTS.items() if name not in (IMAGES_CLASS, FILES_CLASS)}
    none = {name: entry for name, entry in old.items() if not name.startswith("PixelFactory")}
    newer, both = str(PROTOCOL + 1), (str(PROTOCOL), str(PROTOCOL + 1))
    combo = versions()
    combo[IMAGES_CLASS]["input"]["required"]["protocol"] = ["COMBO", {"options": [str(PROTOCOL)]}]
    broken = versions()
    broken[IMAGES_CLASS] = {"input": None}
    assert find_pack_state(None) is PackState.ABSENT
    assert find_pack_state(none) is PackState.ABSENT
    assert find_pack_state(old) is PackState.OLDER
    assert find_pack_state(versions("0")) is PackState.OLDER
    assert find_pack_state(broken) is PackState.OLDER
    assert find_pack_state(versions(newer)) is PackState.NEWER
    assert find_pack_state(versions(*both)) is PackState.MATCHING
    assert find_pack_state(combo) is PackState.MATCHING
    assert find_pack_state(FACTS) is PackState.MATCHING


def test_a_delivered_output_is_no_file_and_no_text() -> None:
    (item,) = parse_outputs("9", {"pixel_factory": [{"delivery": 1, "files": []}]})
    assert (item.node, item.delivered, item.file, item.text, item.data) == ("9", True, None, None, None)


ROW = {
    "item": 0,
    "node": "9",
    "state": "stored",
    "rejected": 0,
    "error": "",
    "timings": {"encode": 0.5},
    "content_type": "image/png",
    "size": 3,
    "sha256": "a" * 64,
    "md5": "b" * 32,
}


def test_reads_the_state_of_a_delivery() -> None:
    found = parse_snapshot({"revision": 4, "files": [ROW, {**ROW, "item": 1, "state": "working"}]})
    assert found.revision == 4
    assert [file.state for file in found.files] == [DeliveryState.STORED, DeliveryState.WORKING]
    assert not found.files[1].state.is_final


@pytest.mark.parametrize(
    "change",
    [
        {"state": "unknown"},
        {"sha256": ""},
        {"sha256": "../../" + "a" * 58},
        {"md5": None},
        {"size": 0},
        {"size": "many"},
        {"timings": 3},
        {"node": None, "item": None},
    ],
)
def test_rejects_a_state_that_is_not_the_packs(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"delivery|delivered|valid|invalid"):
        parse_snapshot({"revision": 1, "files": [{**ROW, **change}]})
    with pytest.raises(ValueError, match="malformed"):
        parse_snapshot({"files": []})

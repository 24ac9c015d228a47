"""What a session does to a graph, and reads from it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from comfy_instances.protocol.graphs import (
    files_without_events,
    find_nodes_of_class,
    find_sink_nodes,
    with_unique_filename_prefix,
)

GRAPH: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "video/pf"}},
    "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


def test_a_fresh_prefix_per_run() -> None:
    before = deepcopy(GRAPH)
    fresh = with_unique_filename_prefix(GRAPH, "id")
    assert fresh["2"]["inputs"] == {"images": ["1", 0], "filename_prefix": "video/pf-id"}
    assert fresh["1"] is GRAPH["1"]
    assert before == GRAPH


def test_an_empty_prefix_becomes_the_run() -> None:
    fresh = with_unique_filename_prefix({"1": {"inputs": {"filename_prefix": ""}}}, "id")
    assert fresh["1"]["inputs"]["filename_prefix"] == "id"


def test_a_linked_prefix_is_left_alone() -> None:
    graph = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": ["9", 0]}}}
    assert with_unique_filename_prefix(graph, "id") == graph


def test_output_nodes_feed_no_node() -> None:
    assert find_sink_nodes(GRAPH) == {"2", "3"}
    assert find_sink_nodes({}) == frozenset()


def test_a_list_that_is_no_link_hides_no_sink() -> None:
    assert find_sink_nodes({"1": {"inputs": {"sizes": [1, 2, 3], "pair": {"__value__": ["1", 0]}}}}) == {"1"}


def test_nodes_by_class() -> None:
    assert find_nodes_of_class(GRAPH, frozenset({"SaveImage", "Nope"})) == {"2"}


def test_invalid_nodes_are_left_to_the_server() -> None:
    odd: dict[str, Any] = {"1": None, "2": {"inputs": 5}, "3": []}
    assert with_unique_filename_prefix(odd, "id") == odd
    assert find_sink_nodes(odd) == {"1", "2", "3"}
    assert find_nodes_of_class(odd, frozenset({"x"})) == frozenset()


def saver(**inputs: Any) -> dict[str, Any]:
    return {"class_type": "SaveLoRA", "inputs": {"lora": ["1", 0], **inputs}}


def test_lora_savers_use_another_input_for_the_prefix() -> None:
    graph = {
        "1": saver(prefix="loras/pf"),
        "2": {"class_type": "StringConcatenate", "inputs": {"prefix": "a"}},
    }
    fresh = with_unique_filename_prefix(graph, "id")
    assert fresh["1"]["inputs"]["prefix"] == "loras/pf-id"
    assert fresh["2"] == graph["2"]


def test_finds_files_of_savers_without_messages() -> None:
    graph = {
        "plain": saver(prefix="pf"),
        "counted": saver(prefix="loras/pf", steps=30),
        "linked": saver(prefix="pf", steps=["1", 2]),
        "named by another": saver(prefix=["1", 0]),
        "loud": GRAPH["2"],
    }
    assert dict(files_without_events(graph)) == {
        "plain": "pf_00001_.safetensors",
        "counted": "loras/pf_30_steps_00001_.safetensors",
    }

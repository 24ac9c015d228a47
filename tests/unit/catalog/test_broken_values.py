"""Errors of graphs and facts name the node, the input, the value and what is allowed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from orchestrator.catalog.import_export import InvalidWorkflow
from orchestrator.catalog.publishing.submission import Submission, SubmittedModel, build_model
from orchestrator.errors import InvalidRequest
from tests.support.canvas import drawn
from tests.unit.catalog.test_replacing import KNOWLEDGE

INFINITE = float("inf")
LOADER = {"id": 1, "type": "LoadImage", "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}]}
SAVER = {"id": 2, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 1}]}
CANVAS = {"links": [[1, 1, 0, 2, 0, "IMAGE"]]}


def build(prompt: Any = None, **fields: Any) -> SubmittedModel:
    return build_model(Submission(id="hare", prompt=prompt or drawn(), **fields), KNOWLEDGE)


def with_input(node: str, name: str, value: Any) -> dict[str, Any]:
    graph = copy.deepcopy(drawn())
    graph[node]["inputs"][name] = value
    return graph


def with_node(class_type: str, inputs: dict[str, Any]) -> dict[str, Any]:
    return {**copy.deepcopy(drawn()), "more": {"class_type": class_type, "inputs": inputs}}


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (
            with_input("latent", "batch_size", INFINITE),
            "node latent, input batch_size: must be a finite number",
        ),
        (with_input("sampler", "cfg", float("nan")), r"node sampler, input cfg: .*\(got nan\)"),
        (with_input("sampler", "cfg", 10**400), "node sampler, input cfg: must be a finite number"),
        (with_input("sampler", "steps", 0), r"node sampler, input steps: must be from 1 to \d+ \(got 0\)"),
        (with_input("sampler", "steps", -3), r"node sampler, input steps: must be from 1 to \d+ \(got -3\)"),
        (with_input("sampler", "x", "a \ud83d"), "sampler, inputs, x: 'a \\?' has half of a character"),
        (with_node("a \ud83d", {"images": ["sampler", 0]}), "more, class_type: .* half of a character"),
        ({**drawn(), "more": [1]}, "node more: must be an object with class_type and inputs"),
        ({"more": [1]}, "choose Export or Export"),
    ],
)
def test_a_value_that_no_node_takes_is_named(graph: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidWorkflow, match=expected):
        build(graph)


def test_a_canvas_whose_links_have_no_slots_is_refused() -> None:
    canvas = {"nodes": [{"id": 1, "type": "SaveImage"}], "links": [[1, 1, INFINITE, 1, 0, "IMAGE"]]}
    with pytest.raises(InvalidWorkflow, match="a link must have"):
        build(workflow=canvas)


def test_half_of_a_character_is_found_in_the_canvas_and_in_the_other_graph() -> None:
    canvas = {"nodes": [{"id": 1, "type": "SaveImage", "title": "\ud83d"}], "links": []}
    with pytest.raises(InvalidWorkflow, match=r"the graph, nodes\[0\], title: "):
        build(workflow=canvas)


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ({"parameters": {"steps": {"type": None}}}, "parameters.steps: type must not be null"),
        (
            {"parameters": {"steps": {"default": 0}}},
            r"parameters.steps: default must be from 1 to \d+ \(got 0\)",
        ),
        ({"parameters": {"cfg_scale": {"default": 99}}}, r"parameters.cfg_scale: default must be from"),
        ({"parameters": {"steps": {"minimum": 50, "maximum": 9}}}, r"minimum \(50\) is above maximum \(9\)"),
        ({"parameters": {"steps": {"name": "true"}}}, "'true' is not a valid parameter name: use a-z"),
        ({"batch": "4"}, r"batch: Input should be a valid integer \(got '4'\)"),
        (
            {"max_resolution": "64x64"},
            r"refuses its defaults: `size` must have .* \(got \d+x\d+\)$",
        ),
        ({"parameters": {"width": {"minimum": 1}}}, "refuses a request .* `width` must be a multiple of 8"),
        ({"name": "a\ud800"}, "name: .* has half of a character"),
    ],
)
def test_a_change_that_no_manifest_takes_is_named(edits: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidRequest, match=expected) as refused:
        build(manifest=edits)
    assert "model.toml" not in str(refused.value)


@pytest.mark.parametrize(
    "entry",
    [
        {"input": {"required": {"image": []}}, "output": ["IMAGE"]},
        {"input": {"required": {"image": 5}}, "output": ["IMAGE"]},
        {"input": {"required": {"image": ["IMAGE"]}}, "output": 7},
        {"input": {"required": {"mode": ["COMFY_DYNAMICCOMBO_V3", {"options": [1]}]}}, "output": []},
    ],
)
def test_facts_that_are_none_are_refused(entry: dict[str, Any]) -> None:
    graph = with_node("Foo", {"image": ["sampler", 0], "mode": 1})
    with pytest.raises(InvalidRequest, match=r"object_info.* 'Foo' needs `input`"):
        build(graph, object_info={"Foo": entry})


def test_ranges_of_packs_that_are_no_numbers_are_ignored() -> None:
    strange = {"required": {"samples": ["LATENT"], "x": ["INT", {"min": "a", "max": INFINITE, "step": None}]}}
    entry = {"input": strange, "output": ["LATENT"], "output_node": False}
    graph = with_node("Foo", {"samples": ["sampler", 0], "x": 3})
    saver = next(node for node in graph.values() if node["class_type"] == "VAEDecode")
    saver["inputs"]["samples"] = ["more", 0]
    assert build(graph, object_info={"Foo": entry}).usable


def test_a_choice_that_is_none_names_those_there_are() -> None:
    built = build(with_input("sampler", "sampler_name", "eulr"))
    (problem,) = [each for each in built.problems if each.code == "value_not_in_list"]
    assert problem.message.startswith("'eulr' is not one of its options: euler")
    assert problem.message.endswith(" more")


def test_a_fixed_image_without_a_file_is_not_usable() -> None:
    graph = copy.deepcopy(drawn())
    last = (
        "8" if "8" in graph else next(id for id, node in graph.items() if node["class_type"] == "VAEDecode")
    )
    for number in range(6):
        graph[f"load{number}"] = {"class_type": "LoadImage", "inputs": {"image": ""}}
        joined = {"image1": [last, 0], "image2": [f"load{number}", 0]}
        last = f"join{number}"
        graph[last] = {"class_type": "ImageBatch", "inputs": joined}
    saver = next(node for node in graph.values() if node["class_type"] == "SaveImage")
    saver["inputs"]["images"] = [last, 0]
    built = build(graph)
    wrong = {(each.node, each.input): each.message for each in built.problems if not each.is_warning}
    assert wrong == {(f"load{number}", "image"): "names no file; choose one" for number in (4, 5)}


def test_several_savers_are_asked_about() -> None:
    graph = copy.deepcopy(drawn())
    saver = next(node for node in graph.values() if node["class_type"] == "SaveImage")
    graph["more"] = copy.deepcopy(saver)
    (asked,) = [each for each in build(graph).questions if "how many results" in each]
    assert "2 nodes save some" in asked


@pytest.mark.parametrize(("mode", "word"), [(2, "muted"), (4, "bypassed")])
def test_a_silent_source_is_named(mode: int, word: str) -> None:
    built = build(workflow=CANVAS | {"nodes": [{**LOADER, "mode": mode}, SAVER]})
    (problem,) = built.problems
    assert (problem.node, problem.input) == ("2", "images")
    assert f"node 1 (LoadImage), which gives it, is {word}; enable it" in problem.message

"""The checks find what ComfyUI would refuse, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.catalog.checks.graph_checks import validate_graph
from orchestrator.catalog.checks.link_types import add_link_types
from orchestrator.catalog.rendering.graph import ApiGraph
from tests.support.canvas import api
from tests.support.drafts import CATALOG, FACTS
from tests.unit.catalog.test_import_packs import entry

SDXL = CATALOG["sdxl-1.0"]
FILES = {weight.file for weight in SDXL.manifest.weights}


def sdxl() -> ApiGraph:
    return copy.deepcopy(SDXL.render_graph(SDXL.example_params(), filename_prefix="check"))


def set_input(node: str, name: str, value: Any) -> Callable[[ApiGraph], None]:
    return lambda graph: graph[node]["inputs"].update({name: value})


def drop_input(node: str, name: str) -> Callable[[ApiGraph], None]:
    return lambda graph: graph[node]["inputs"].pop(name)


def rename_class(node: str, name: str) -> Callable[[ApiGraph], None]:
    return lambda graph: graph[node].update({"class_type": name})


def swap_prompt_and_latent(graph: ApiGraph) -> None:
    inputs = graph["sampler"]["inputs"]
    inputs["positive"], inputs["latent_image"] = inputs["latent_image"], inputs["positive"]


@pytest.mark.parametrize(
    ("mutate", "node", "input", "code"),
    [
        (rename_class("sampler", "KSamler"), "sampler", "", "missing_node_type"),
        (rename_class("sampler", ""), "sampler", "", "missing_node_type"),
        (drop_input("sampler", "seed"), "sampler", "seed", "required_input_missing"),
        (drop_input("decode", "vae"), "decode", "vae", "required_input_missing"),
        (swap_prompt_and_latent, "sampler", "positive", "return_type_mismatch"),
        (set_input("decode", "vae", ["checkpoint", 0]), "decode", "vae", "return_type_mismatch"),
        (set_input("decode", "vae", ["checkpoint", 3]), "decode", "vae", "linked_slot_missing"),
        (set_input("decode", "vae", ["nowhere", 0]), "decode", "vae", "linked_node_missing"),
        (set_input("decode", "vae", "ae.safetensors"), "decode", "vae", "invalid_input_type"),
        (set_input("sampler", "steps", 10_001), "sampler", "steps", "value_bigger_than_max"),
        (set_input("sampler", "steps", 0), "sampler", "steps", "value_smaller_than_min"),
        (set_input("sampler", "seed", 2**64), "sampler", "seed", "value_bigger_than_max"),
        (set_input("sampler", "steps", "many"), "sampler", "steps", "invalid_input_type"),
        (set_input("sampler", "cfg", None), "sampler", "cfg", "invalid_input_type"),
        (set_input("sampler", "sampler_name", "eulr"), "sampler", "sampler_name", "value_not_in_list"),
        (set_input("checkpoint", "ckpt_name", "b.ckpt"), "checkpoint", "ckpt_name", "value_not_in_list"),
        (set_input("sampler", "latent_image", ["sampler", 0]), "sampler", "", "dependency_cycle"),
        (set_input("sampler", "denoize", 1.0), "sampler", "denoize", "unknown_input"),
    ],
)
def test_reports_each_mutation(mutate: Callable[[ApiGraph], None], node: str, input: str, code: str) -> None:
    graph = sdxl()
    assert validate_graph(graph, FACTS, FILES) == []
    mutate(graph)
    problems = validate_graph(graph, FACTS, FILES)
    assert (code, node, input) in [(problem.code, problem.node, problem.input) for problem in problems]
    assert [problem.is_warning for problem in problems] == [code == "unknown_input"] * len(problems)
    assert f"node {node}" in str(problems[0])


def test_a_graph_needs_an_output() -> None:
    graph = sdxl()
    del graph["save"]
    assert [problem.code for problem in validate_graph(graph, FACTS, FILES)] == ["prompt_no_outputs"]
    assert [problem.code for problem in validate_graph({}, FACTS)] == ["prompt_no_outputs"]


def test_reports_a_longer_cycle_once() -> None:
    graph = {
        "a": {"class_type": "ImageInvert", "inputs": {"image": ["b", 0]}},
        "b": {"class_type": "ImageInvert", "inputs": {"image": ["a", 0]}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["a", 0], "filename_prefix": "x"}},
    }
    assert [problem.code for problem in validate_graph(graph, FACTS)] == ["dependency_cycle"]


def switch(**inputs: Any) -> ApiGraph:
    return {
        "n": {"class_type": "ComfySwitchNode", "inputs": inputs},
        "image": {
            "class_type": "EmptyImage",
            "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0},
        },
        "save": {"class_type": "SaveImage", "inputs": {"images": ["n", 0], "filename_prefix": "x"}},
    }


def test_a_node_of_any_type_takes_and_gives_any_type() -> None:
    graph = switch(switch=True, on_true=["image", 0], on_false=["image", 0])
    assert validate_graph(graph, FACTS) == []


def resize(**inputs: Any) -> list[str]:
    graph = switch(switch=True, on_true=["image", 0], on_false=["image", 0])
    graph["n"] = {"class_type": "ResizeImageMaskNode", "inputs": {"input": ["image", 0]} | inputs}
    return [f"{problem.code} {problem.input}" for problem in validate_graph(graph, FACTS)]


def test_a_dynamic_combo_asks_for_the_inputs_of_its_choice() -> None:
    by_size = {"resize_type": "scale dimensions", "scale_method": "area"}
    rest = {"resize_type.width": 64, "resize_type.height": 64, "resize_type.crop": "center"}
    assert resize(**by_size, **rest) == []
    assert resize(**by_size) == [f"required_input_missing {name}" for name in rest]
    assert resize(resize_type="by feeling", scale_method="area") == ["value_not_in_list resize_type"]


def batch(**images: Any) -> list[str]:
    graph = switch(switch=True, on_true=["image", 0], on_false=["image", 0])
    graph["n"] = {"class_type": "BatchImagesNode", "inputs": images}
    return [f"{problem.code} {problem.input}" for problem in validate_graph(graph, FACTS)]


def test_a_growing_group_has_as_many_members_as_are_linked() -> None:
    assert batch(**{"images.image0": ["image", 0], "images.image1": ["image", 0]}) == []
    assert batch() == ["required_input_missing images.image0"]
    assert batch(**{"images.image0": ["image", 0], "images.photo": ["image", 0]}) == [
        "unknown_input images.photo"
    ]


def linked_video(source: str, combine: str = "VHS_VideoCombine") -> list[str]:
    """The inputs of a video node that refuse the outputs of `source`, which gives IMAGE and INT."""
    packs = {
        "VHS_LoadVideoPath": entry({"force_rate": ["FLOAT", {}]}, "IMAGE", "INT"),
        "TheirLoader": entry({"force_rate": ["FLOAT", {}]}, "IMAGE", "INT"),
        **dict.fromkeys(
            ("VHS_VideoCombine", "TheirCombine"),
            entry({"images": ["IMAGE"], "frame_rate": ["FLOAT", {}], "quality": ["FLOAT", {}]}, saves=True),
        ),
        "TheirLatents": entry({"samples": ["LATENT"]}, saves=True),
    }
    graph = api(
        a=(source, "", {"force_rate": ["b", 1]}),
        b=(source, "", {"force_rate": 24}),
        c=(combine, "", {"images": ["a", 0], "frame_rate": ["b", 1], "quality": ["b", 1]}),
        d=("TheirLatents", "", {"samples": ["b", 0]}),
    )
    problems = validate_graph(graph, packs)
    assert {problem.code for problem in problems} == {"return_type_mismatch"}
    return sorted(f"{problem.node}.{problem.input}" for problem in problems)


def test_links_of_types_that_a_pack_compares_by_itself_are_accepted() -> None:
    assert linked_video("VHS_LoadVideoPath") == ["c.quality"]
    assert linked_video("TheirLoader", "TheirCombine") == [
        "a.force_rate",
        "c.frame_rate",
        "c.quality",
        "d.samples",
    ]


def test_links_of_recorded_types_are_accepted() -> None:
    facts = {
        "Theirs": entry({"rate": ["FLOAT", {}], "count": ["FLOAT", {}]}, "IMAGE", "INT", saves=True),
        "Rate": entry({}, "INT", "STRING"),
    }
    graph = api(a=("Theirs", "", {"rate": ["b", 0], "count": ["b", 1]}), b=("Rate", "", {}))

    def refused(recorded: Any, outputs: Any = None) -> list[str]:
        more = {
            "Theirs": {"link_types": recorded},
            "Rate": {"link_types": outputs},
            "Gone": {"link_types": {}},
        }
        return [str(problem.input) for problem in validate_graph(graph, add_link_types(facts, more))]

    assert refused({}) == ["rate", "count"]
    assert refused({"inputs": {"rate": ["INT"]}}) == ["count"]
    assert refused({"inputs": {"rate": ["INT"]}}, {"outputs": {"1": ["FLOAT"]}}) == []
    assert refused({"inputs": {"rate": ["*"], "count": ["*"]}}) == []
    for nonsense in (7, {"inputs": 7}, {"inputs": {"rate": "INT"}}, {"inputs": {"rate": [7]}}):
        assert refused(nonsense) == ["rate", "count"]
    assert add_link_types(facts, {}) is facts


@pytest.mark.parametrize(
    ("value", "hint"),
    [("2", "2 is a number and this is a text"), (True, '"true" is a text and this is a switch')],
)
def test_an_option_of_another_type_is_reported_with_both_types(value: Any, hint: str) -> None:
    inputs = {"required": {"level": [["true", 2]]}}
    facts = {"Levels": {"input": inputs, "output": [], "output_node": True}}
    graph = {"node": {"class_type": "Levels", "inputs": {"level": value}}}
    (problem,) = validate_graph(graph, facts)
    assert problem.code == "value_not_in_list"
    assert hint in problem.message

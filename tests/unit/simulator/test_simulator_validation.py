"""Checks that the comparison with a real server does not reach."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_instances.simulator.validation.validation import is_type_compatible, validate_graph
from tests.unit.simulator.simulator_bench import FACTS, node


def errors(graph: dict[str, Any]) -> dict[str, list[str]]:
    """Node id -> types of its errors."""
    verdict = validate_graph(graph, FACTS, has_file=lambda name: name == "there.png")
    return {key: [one["type"] for one in blamed["errors"]] for key, blamed in verdict.node_errors.items()}


def shown(source: dict[str, Any]) -> dict[str, Any]:
    return {"1": source, "2": node("PreviewAny", source=["1", 0])}


@pytest.mark.parametrize(
    ("received", "wanted", "meet"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "MASK", False),
        ("INT", "FLOAT,INT", True),
        ("INT,STRING", "STRING,BOOLEAN", True),
        ("*", "MODEL", True),
        ("MODEL", "*", True),
        ("COMFY_MATCHTYPE_V3", "MODEL", True),
        (["a", "b"], "COMBO", True),
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], "STRING", False),
    ],
)
def test_types(received: Any, wanted: Any, meet: bool) -> None:
    assert is_type_compatible(received, wanted) is meet


@pytest.mark.parametrize(
    ("loader", "accepted"),
    [
        (node("UNETLoader", unet_name="any.safetensors", weight_dtype="default"), True),
        (node("UNETLoader", unet_name="any.GGUF", weight_dtype="default"), True),
        (node("UNETLoader", unet_name="any", weight_dtype="default"), False),
        (node("UNETLoader", unet_name="any.safetensors", weight_dtype="any.safetensors"), False),
        (node("VAELoader", vae_name="pixel_space"), True),
        (node("VAELoader", vae_name="ae.safetensors"), True),
        (node("UpscaleModelLoader", model_name="4x-UltraSharp.pth"), True),
        (node("CustomCombo", choice="anything"), True),
        (node("LoadImage", image="there.png"), True),
    ],
)
def test_a_simulator_has_all_weights_and_only_weights(loader: dict[str, Any], accepted: bool) -> None:
    assert errors(shown(loader)) == ({} if accepted else {"1": ["value_not_in_list"]})


@pytest.mark.parametrize(
    ("value", "converted"), [("7", 7), (7.9, 7), (True, 1), ({"__value__": 3}, 3)], ids=repr
)
def test_literals_are_converted_in_place(value: Any, converted: int) -> None:
    graph = shown(node("PrimitiveInt", value=value))
    assert errors(graph) == {}
    assert graph["1"]["inputs"]["value"] == converted


@pytest.mark.parametrize("value", ["x", None, float("nan"), float("inf"), {}])
def test_rejects_values_that_are_no_numbers(value: Any) -> None:
    assert errors(shown(node("PrimitiveInt", value=value))) == {"1": ["invalid_input_type"]}


def test_reports_a_cycle_for_each_of_its_nodes() -> None:
    graph = {
        "a": node("ImageInvert", image=["b", 0]),
        "b": node("ImageInvert", image=["a", 0]),
        "out": node("PreviewImage", images=["a", 0]),
    }
    assert errors(graph) == {"a": ["dependency_cycle"], "b": ["dependency_cycle"]}


def test_a_chain_too_long_to_check_is_refused() -> None:
    graph = {"0": node("EmptyImage", width=8, height=8, batch_size=1, color=0)}
    for index in range(1, 2000):
        graph[str(index)] = node("ImageInvert", image=[str(index - 1), 0])
    graph["out"] = node("PreviewImage", images=["1999", 0])
    assert validate_graph(graph, FACTS, has_file=lambda _: False).error is not None


def test_errors_name_the_outputs_that_they_cost() -> None:
    graph = {
        "1": node("EmptyImage", width=0, height=8, batch_size=1, color=0),
        "2": node("PreviewImage", images=["1", 0]),
        "3": node("PreviewImage", images=["1", 0]),
    }
    verdict = validate_graph(graph, FACTS, has_file=lambda _: False)
    assert verdict.error is not None
    assert verdict.error["type"] == "prompt_outputs_failed_validation"
    assert verdict.node_errors["1"]["dependent_outputs"] == ["2", "3"]

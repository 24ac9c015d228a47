"""How much work a submitted graph of many nodes is, and which graphs are too large for a model."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.catalog.import_export import InvalidWorkflow
from tests.support.canvas import drawn
from tests.unit.catalog.test_submission import submit


def with_loras(nodes: int) -> dict[str, Any]:
    """A graph with a chain of so many LoRAs, half of them equal."""
    graph = drawn()
    for index in range(nodes):
        inputs = {"lora_name": f"{index // 2}.safetensors", "strength_model": 1.0}
        inputs["model"] = graph["sampler"]["inputs"]["model"]
        graph[f"lora{index}"] = {"class_type": "LoraLoaderModelOnly", "inputs": inputs}
        graph["sampler"]["inputs"]["model"] = [f"lora{index}", 0]
    return graph


def with_unknown_nodes(nodes: int) -> dict[str, Any]:
    graph = drawn()
    for index in range(nodes):
        inputs = {"strength": 1.0, "model": graph["sampler"]["inputs"]["model"]}
        graph[f"odd{index}"] = {"class_type": f"OddPatch{index % 9}", "inputs": inputs}
        graph["sampler"]["inputs"]["model"] = [f"odd{index}", 0]
    return graph


def with_samplers(nodes: int) -> dict[str, Any]:
    """A graph that makes many images, each by three nodes and with the same settings."""
    graph = drawn()
    for index in range(nodes // 3):
        graph[f"sampler{index}"] = graph["sampler"] | {"inputs": dict(graph["sampler"]["inputs"])}
        latent, image = [f"sampler{index}", 0], [f"decode{index}", 0]
        graph[f"decode{index}"] = {
            "class_type": "VAEDecode",
            "inputs": {"samples": latent, "vae": ["model", 2]},
        }
        graph[f"save{index}"] = {
            "class_type": "SaveImage",
            "inputs": {"images": image, "filename_prefix": "x"},
        }
    return graph


def with_switches(nodes: int) -> dict[str, Any]:
    graph = drawn()
    for index in range(nodes):
        latent = graph["sampler"]["inputs"]["latent_image"]
        inputs = {"switch": True, "on_false": ["latent", 0], "on_true": latent}
        graph[f"switch{index}"] = {"class_type": "ComfySwitchNode", "inputs": inputs}
        graph["sampler"]["inputs"]["latent_image"] = [f"switch{index}", 0]
    return graph


def count_calls(graph: dict[str, Any]) -> int:
    """Return the function calls of a dry run."""
    profile = cProfile.Profile()
    profile.enable()
    submit(graph, is_dry_run=True)
    profile.disable()
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


@pytest.mark.exhaustive
@pytest.mark.parametrize("draw", [with_loras, with_unknown_nodes, with_samplers, with_switches])
def test_a_node_more_is_little_work(draw: Callable[[int], dict[str, Any]]) -> None:
    # Of each request that proves the model, only the nodes that it changes are rendered and checked, and no
    # node is compared with all others.
    count_calls(draw(9))
    assert (count_calls(draw(300)) - count_calls(draw(210))) / 90 < 3500


def test_parameters_are_limited_in_number() -> None:
    graph = drawn()
    for index in range(301):
        inputs = {"name": f"side_{index}", "value": 64, "minimum": 64, "maximum": 128, "step": 8}
        graph[f"side{index}"] = {"class_type": "PixelFactoryInteger", "inputs": inputs}
    with pytest.raises(InvalidWorkflow, match="declare 301 parameters; a model has at most 300"):
        submit(graph)


def test_files_that_each_run_loads_are_limited_in_number() -> None:
    graph = drawn()
    for index in range(1010):
        graph[f"load{index}"] = {"class_type": "LoadImage", "inputs": {"image": f"{index}.png"}}
        images = graph["save"]["inputs"]["images"]
        inputs = {"image1": images, "image2": [f"load{index}", 0]}
        graph[f"join{index}"] = {"class_type": "ImageBatch", "inputs": inputs}
        graph["save"]["inputs"]["images"] = [f"join{index}", 0]
    with pytest.raises(InvalidWorkflow, match="at most 1000 files of its author") as error:
        submit(graph)
    assert "make some of them parameters" in str(error.value)

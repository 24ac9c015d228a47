"""The output check stands before every picture that leaves a graph."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_instances.protocol.node_facts import load_pack_node_facts
from orchestrator.catalog import Model
from orchestrator.catalog.checks.graph_checks import validate_graph
from orchestrator.catalog.rendering.graph import ApiGraph, iter_links
from orchestrator.catalog.rendering.output_check import OUTPUT_CHECK_CLASS, OutputCheck
from orchestrator.execution.instances.capabilities import AnyFileName
from tests.support.drafts import CATALOG
from tests.support.drafts import FACTS as CORE

FACTS = {**load_pack_node_facts(), **CORE}
CHECK = OutputCheck(classifier="red/model.safetensors", labels="nsfw", threshold=0.5)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def checks(graph: ApiGraph) -> list[str]:
    return [id for id, node in graph.items() if node["class_type"] == OUTPUT_CHECK_CLASS]


def sees(graph: ApiGraph, output: str, unchecked: frozenset[str]) -> bool:
    """Whether one of the nodes `unchecked` reaches the output without a check between them."""
    waiting = [output]
    while waiting:
        node = graph[waiting.pop()]
        sources = [link.node for _, link in iter_links(node["inputs"])]
        if unchecked & set(sources):
            return True
        waiting += [source for source in sources if graph[source]["class_type"] != OUTPUT_CHECK_CLASS]
    return False


@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.id)
def test_the_catalogue_passes_through_it(model: Model) -> None:
    graph = model.render_graph(model.example_params(), filename_prefix="p")
    outputs = [output.node for output in model.outputs if output.node in graph]
    guarded = CHECK.insert_checks(graph, outputs, FACTS)
    assert not [each for each in validate_graph(guarded, FACTS, AnyFileName()) if not each.is_warning]
    seen = {output.media for output in model.outputs} & {"image", "video"}
    assert bool(checks(guarded)) == bool(seen)
    decoders = {id for id, node in graph.items() if node["class_type"].startswith("VAEDecode")}
    if seen and "audio" not in "".join(graph[id]["class_type"].lower() for id in decoders):
        assert not any(sees(guarded, output, frozenset(decoders)) for output in outputs)


def test_checks_only_images_that_are_saved() -> None:
    graph = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
        "2": node("PreviewImage", images=["1", 0]),
        "3": node("SaveImage", images=["1", 0], filename_prefix="p"),
    }
    guarded = CHECK.insert_checks(graph, ["3"], FACTS)
    assert guarded["2"] == graph["2"]
    assert guarded["3"]["inputs"]["images"] == ["check-1-0", 0]
    assert guarded["check-1-0"]["inputs"]["images"] == ["1", 0]
    assert graph["3"]["inputs"]["images"] == ["1", 0]


def test_checks_each_image_once() -> None:
    graph = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
        "2": node("CreateVideo", images=["1", 0], fps=8.0),
        "3": node("SaveVideo", video=["2", 0], filename_prefix="p", format="mp4", codec="h264"),
        "4": node("SaveImage", images=["1", 0], filename_prefix="p"),
    }
    guarded = CHECK.insert_checks(graph, ["3", "4"], FACTS)
    assert checks(guarded) == ["check-1-0"]
    assert guarded["2"]["inputs"]["images"] == guarded["4"]["inputs"]["images"] == ["check-1-0", 0]
    assert CHECK.insert_checks(guarded, ["3", "4"], FACTS) == guarded


def test_checks_videos_behind_a_switch() -> None:
    graph = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
        "2": node("CreateVideo", images=["1", 0], fps=8.0),
        "3": node("ComfySwitchNode", switch=True, on_true=["2", 0], on_false=["2", 0]),
        "4": node("SaveVideo", video=["3", 0], filename_prefix="p", format="mp4", codec="h264"),
    }
    assert CHECK.insert_checks(graph, ["4"], FACTS)["2"]["inputs"]["images"] == ["check-1-0", 0]

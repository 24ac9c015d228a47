"""What a real ComfyUI says of our graphs, and what our own checks say: they must agree."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.checks.graph_checks import validate_graph
from orchestrator.catalog.checks.model_checks import probe_requests
from orchestrator.catalog.import_export import InvalidWorkflow, export_ui
from orchestrator.catalog.import_export.ui.ui_to_api import convert_ui_to_api
from tests.support.canvas import import_pinned
from tests.support.official_templates import official_templates
from tests.support.polling import poll
from tests.support.real_comfyui import RealServer

pytestmark = pytest.mark.comfyui

ROOT = Path(__file__).parents[2]
CATALOG = Catalog.load(ROOT / "workflows", ROOT / "tests" / "workflows")
WEIGHTLESS = [model for model in CATALOG if model.id.startswith("test-")]
#: Node, input and kind of an objection.
Objection = tuple[str, str, str]


async def objections(client: aiohttp.ClientSession, graph: dict[str, Any]) -> set[Objection]:
    """Asks the server to queue a graph, and takes it out again where it has been accepted."""
    async with client.post("/prompt", json={"prompt": graph}) as response:
        answer = await response.json()
    await client.post("/queue", json={"clear": True})
    await client.post("/interrupt", json={})
    if answer.get("error", {}).get("type") == "missing_node_type":
        return {(answer["error"]["extra_info"]["node_id"], "", "missing_node_type")}
    return {
        (node, error.get("extra_info", {}).get("input_name", ""), error["type"])
        for node, report in (answer.get("node_errors") or {}).items()
        for error in report["errors"]
    }


async def node_facts(client: aiohttp.ClientSession) -> dict[str, Any]:
    async with client.get("/object_info") as response:
        facts: dict[str, Any] = await response.json()
        return facts


def ours(graph: dict[str, Any], facts: dict[str, Any]) -> set[Objection]:
    found = [(problem.node, problem.input, problem.code) for problem in validate_graph(graph, facts)]
    missing = [objection for objection in found if objection[2] == "missing_node_type"]
    return set(missing[:1] or found)  # the server stops at the first unknown class


@pytest.mark.parametrize("model", list(CATALOG), ids=lambda model: model.id)
async def test_the_server_and_our_checks_object_to_the_same(comfyui: RealServer, model: Model) -> None:
    async with aiohttp.ClientSession(comfyui.url) as client:
        facts = await node_facts(client)
        for request in probe_requests(model):
            graph = model.render_graph(model.example_params(**request), filename_prefix="check")
            theirs = await objections(client, graph)
            assert theirs == ours(graph, facts)
            # All that it may object to are weights and packs that are not there.
            expected = {"missing_node_type"} if model.requires.packs else {"value_not_in_list"}
            assert {kind for _, _, kind in theirs} <= expected


async def test_both_agree_on_official_templates(comfyui: RealServer) -> None:
    """Imported, ComfyUI's own templates have nothing wrong with them but files that are not there.

    A server takes a graph all the same where one of its results needs none of these.
    """
    kinds: Counter[str] = Counter()
    async with aiohttp.ClientSession(comfyui.url) as client:
        facts = await node_facts(client)
        for name, graph in drawn_by_others(facts):
            theirs = await objections(client, graph)
            absent = {place for place in theirs if place[2] == "custom_validation_failed"}
            assert theirs - absent == ours(graph, facts), name
            files = {graph[node]["inputs"][input] for node, input, _ in theirs}
            assert all(re.search(r"\.\w+$", file) for file in files), (name, files)
            kinds.update(kind for _, _, kind in theirs)
    print(f"\nobjections to absent files: {dict(kinds)}")
    assert kinds.keys() == {"value_not_in_list", "custom_validation_failed"}


def drawn_by_others(facts: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Official templates that are made of known nodes, as graphs for the default request."""
    for name, data in official_templates().items():
        if not convert_ui_to_api(data, facts).unknown_classes:
            with contextlib.suppress(InvalidWorkflow):  # which has nothing to save
                result = import_pinned(data, id="template", facts=facts)
                model = Model.parse(result.manifest, result.graph, Path(name))
                yield name, model.render_graph(model.example_params(), filename_prefix="check")


MUTATIONS = [
    ("sampler", "class_type", "KSamler"),
    ("sampler", "seed", None),
    ("sampler", "steps", 10_001),
    ("sampler", "steps", 0),
    ("sampler", "steps", "many"),
    ("sampler", "sampler_name", "eulr"),
    ("sampler", "positive", ["latent", 0]),
    ("decode", "vae", ["checkpoint", 0]),
    ("latent", "width", 8),
]


@pytest.mark.parametrize(("node", "name", "value"), MUTATIONS)
async def test_both_reject_the_same_graphs(comfyui: RealServer, node: str, name: str, value: Any) -> None:
    graph = copy.deepcopy(
        CATALOG["sdxl-1.0"].render_graph(CATALOG["sdxl-1.0"].example_params(), filename_prefix="x")
    )
    if name == "class_type":
        graph[node][name] = value
    elif value is None:
        del graph[node]["inputs"][name]
    else:
        graph[node]["inputs"][name] = value
    async with aiohttp.ClientSession(comfyui.url) as client:
        theirs = await objections(client, graph)
        assert theirs == ours(graph, await node_facts(client))
        assert any(place[:2] in {(node, name), (node, "")} for place in theirs)


@pytest.mark.parametrize("model", WEIGHTLESS, ids=lambda model: model.id)
async def test_weightless_models_run(comfyui: RealServer, model: Model) -> None:
    graph = model.render_graph(model.example_params(prompt="a fox"), filename_prefix=f"run/{model.id}")
    async with aiohttp.ClientSession(comfyui.url) as client:
        async with client.post("/prompt", json={"prompt": graph}) as response:
            id = (await response.json())["prompt_id"]
        entry = await _finished(client, id)
    assert entry["status"]["status_str"] == "success"
    files = entry["outputs"][model.outputs[0].node]["images"]
    assert (comfyui.base / "output" / files[0]["subfolder"] / files[0]["filename"]).stat().st_size > 0


async def test_an_exported_workflow_runs(comfyui: RealServer) -> None:
    """What the frontend would queue after opening our file."""
    async with aiohttp.ClientSession(comfyui.url) as client:
        facts = await node_facts(client)
        data = json.loads(json.dumps(export_ui(CATALOG["test-video"], facts)))
        del data["extra"]["pixel_factory"]
        graph = convert_ui_to_api(data, facts).graph
        async with client.post("/prompt", json={"prompt": graph}) as response:
            answer = await response.json()
        assert answer.get("node_errors") == {}
        assert (await _finished(client, answer["prompt_id"]))["status"]["status_str"] == "success"


async def _finished(client: aiohttp.ClientSession, id: str) -> dict[str, Any]:

    async def history() -> dict[str, dict[str, Any]]:
        async with client.get(f"/history/{id}") as response:
            return dict(await response.json())

    return (await poll(history))[id]

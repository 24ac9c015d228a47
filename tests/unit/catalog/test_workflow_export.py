"""A model to a file that ComfyUI opens, and back."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog import Catalog, CatalogError, Model, write_model
from orchestrator.catalog.checks.graph_checks import validate_graph
from orchestrator.catalog.import_export import export_api, export_ui
from orchestrator.catalog.import_export.ui.ui_to_api import convert_ui_to_api
from orchestrator.catalog.parameters.example_values import EXAMPLE_DATASET_FOLDER
from tests.support.canvas import drawn, import_pinned, imported, sdxl
from tests.support.drafts import CATALOG, FACTS, parse_imported

every_model = pytest.mark.parametrize("model", list(CATALOG), ids=lambda model: model.id)


def exported(model: Model, format: str) -> dict[str, Any]:
    """As it comes back from a disk."""
    graph = export_api(model) if format == "api" else export_ui(model, FACTS)
    loaded: dict[str, Any] = json.loads(json.dumps(graph))
    return loaded


@pytest.mark.exhaustive
@every_model
@pytest.mark.parametrize("format", ["api", "ui"])
def test_an_export_imports_back_to_the_same_model(model: Model, format: str) -> None:
    back = import_pinned(exported(model, format), id=model.id, facts=FACTS)
    assert back.manifest == model.source.manifest
    assert json.loads(back.graph) == model.source.template
    assert back.node_facts == model.source.node_facts
    assert back.problems == ()


@every_model
def test_comfyui_would_queue_the_graph_of_the_default_request(model: Model) -> None:
    data = exported(model, "ui")
    del data["extra"]["pixel_factory"]
    facts = {**model.source.node_facts, **FACTS}
    graph = convert_ui_to_api(data, facts).graph
    rendered = model.render_graph(model.example_params(), filename_prefix="ComfyUI", cut=False)
    assert sorted(node["class_type"] for node in graph.values()) == sorted(
        node["class_type"] for node in rendered.values()
    )
    files = {weight.file for weight in model.manifest.weights} | {EXAMPLE_DATASET_FOLDER}
    assert validate_graph(graph, facts, files) == []


@every_model
def test_nodes_do_not_overlap(model: Model) -> None:
    nodes = exported(model, "ui")["nodes"]
    for at, one in enumerate(nodes):
        for other in nodes[at + 1 :]:
            apart = abs(one["pos"][0] - other["pos"][0]) >= 315
            assert apart or one["pos"][1] != other["pos"][1]


def edited(change: dict[str, Any]) -> dict[str, Any]:
    """SDXL, exported, with other values on its sampler's widgets."""
    data = exported(CATALOG["sdxl-1.0"], "ui")
    sampler = next(node for node in data["nodes"] if node["type"] == "KSampler")
    for index, value in change.items():
        sampler["widgets_values"][int(index)] = value
    return data


def test_a_changed_value_becomes_the_default() -> None:
    back = import_pinned(edited({"2": 40, "3": 5.5}), id="sdxl-1.0", facts=FACTS)
    parameters = tomllib.loads(back.manifest)["parameters"]
    assert parameters["steps"]["default"] == 40
    assert back.bound_inputs["sampler.steps"] == "{{ steps }}"


def test_a_changed_literal_stays_changed() -> None:
    back = import_pinned(edited({"4": "euler"}), id="sdxl-1.0", facts=FACTS)
    assert json.loads(back.graph)["sampler"]["inputs"]["sampler_name"] == "euler"


def test_a_copy_takes_no_aliases_along() -> None:
    back = import_pinned(exported(CATALOG["sdxl-1.0"], "api"), id="my-sdxl", facts=FACTS)
    manifest = tomllib.loads(back.manifest)
    assert manifest["id"] == "my-sdxl"
    assert "aliases" not in manifest


def test_an_added_node_is_kept() -> None:
    data = exported(CATALOG["sdxl-1.0"], "api")
    data["sharper"] = {
        "class_type": "ImageInvert",
        "inputs": {"image": ["decode", 0]},
        "_meta": {"title": "x"},
    }
    data["save"]["inputs"]["images"] = ["sharper", 0]
    back = import_pinned(data, id="sdxl-1.0", facts=FACTS)
    graph = json.loads(back.graph)
    assert graph["save"]["inputs"]["images"] == ["sharper", 0]
    assert graph["sampler"]["inputs"]["steps"] == "{{ steps }}"
    assert back.problems == ()


def test_a_node_that_an_author_doubles_is_one_of_its_own() -> None:
    """With its values as they are: it would be hard to tell which of the two a parameter means."""
    data = exported(CATALOG["sdxl-1.0"], "api")
    again = json.loads(json.dumps(data["sampler"]))
    again["inputs"] |= {"latent_image": ["sampler", 0], "denoise": 0.4, "steps": 12}
    data["later"] = again
    data["decode"]["inputs"]["samples"] = ["later", 0]
    back = import_pinned(data, id="sdxl-1.0", facts=FACTS)
    graph = json.loads(back.graph)
    assert graph["sampler"]["inputs"]["steps"] == "{{ steps }}"
    assert graph["later"]["inputs"].items() >= {"steps": 12, "denoise": 0.4}.items()
    assert graph["decode"]["inputs"]["samples"] == ["later", 0]
    assert back.manifest == CATALOG["sdxl-1.0"].source.manifest
    assert back.problems == ()


@pytest.mark.parametrize("format", ["api", "ui"])
def test_an_author_links_something_else_where_an_optional_node_would_be(format: str) -> None:
    """The sampler's model comes from the repeated LoRA, of which the default request has none."""
    model = CATALOG["sdxl-1.0"]
    data = exported(model, format)
    if format == "api":
        data["sampler"]["inputs"]["model"] = ["spare", 0]
        data["spare"] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x"}, "_meta": {}}
    else:
        sampler = next(node for node in data["nodes"] if node["type"] == "KSampler")
        checkpoint = next(node for node in data["nodes"] if node["type"] == "CheckpointLoaderSimple")
        data["nodes"].append(checkpoint | {"id": 900, "properties": {}, "widgets_values": ["x"]})
        data["links"].append([901, 900, 0, sampler["id"], 0, "MODEL"])
        sampler["inputs"][0]["link"] = 901
    graph = json.loads(import_pinned(data, id=model.id, facts=FACTS).graph)
    source, _ = graph["sampler"]["inputs"]["model"]
    assert graph[source]["inputs"]["ckpt_name"] == "x"


def test_a_pack_keeps_its_node_facts(tmp_path: Path) -> None:
    model = CATALOG["cogvideox-2b"]
    back = import_pinned(exported(model, "ui"), id=model.id, facts=FACTS)
    folder = write_model(tmp_path, model.id, back.files)
    assert json.loads((folder / "nodes.json").read_text("utf-8")) == model.source.node_facts
    assert Catalog.load(tmp_path)[model.id].source.template == model.source.template


def test_the_author_s_prompt_and_image_are_kept_and_exported() -> None:
    data = drawn(
        latent=("VAEEncode", "", {"pixels": ["photo", 0], "vae": ["model", 2]}),
        photo=("LoadImage", "", {"image": "fox.png"}),
    )
    result = imported(data)
    model = parse_imported(result)
    assert model.manifest.example == {"prompt": "a fox", "seed": 1, "image": "fox.png"}
    graph = export_api(model)
    assert graph["text"]["inputs"]["text"] == "a fox"
    assert graph["photo"]["inputs"]["image"] == "fox.png"
    graph["text"]["inputs"]["text"] = "a hare"
    again = parse_imported(imported(graph))
    assert again.manifest.example == {"prompt": "a hare", "seed": 1, "image": "fox.png"}
    assert again.source.template == model.source.template


def test_exports_mark_the_widgets_that_requests_set() -> None:
    model = parse_imported(imported(sdxl()))
    assert export_api(model)["3"]["_meta"]["parameters"] == {
        "seed": "seed",
        "steps": "steps",
        "cfg": "cfg_scale",
    }
    canvas = export_ui(model, FACTS)
    sampler = next(each for each in canvas["nodes"] if each["type"] == "KSampler")
    loader = next(each for each in canvas["nodes"] if each["type"] == "CheckpointLoaderSimple")
    labels = {each["name"]: each["label"] for each in sampler["inputs"] if "label" in each}
    assert labels == {"seed": "seed ← seed", "steps": "steps ← steps", "cfg": "cfg ← cfg_scale"}
    assert "color" in sampler
    assert "color" not in loader
    note = canvas["nodes"][-1]
    assert note["type"] == "MarkdownNote"
    assert "- **prompt** (required)" in note["widgets_values"][0]


def test_rejects_an_example_that_is_no_valid_request() -> None:
    result = imported(sdxl())
    manifest = result.manifest.replace("[example]\n", "[example]\nsteps = 1000\n")
    with pytest.raises(CatalogError, match=r"example: .*steps"):
        Model.parse(manifest, result.graph, Path("drawn"))
    with pytest.raises(CatalogError, match="there is no parameter 'size'"):
        Model.parse(
            result.manifest.replace("[example]\n", '[example]\nsize = "big"\n'), result.graph, Path("drawn")
        )

"""LoRAs of a graph that somebody drew become lists, and lists become nodes again."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog import Model
from orchestrator.catalog.import_export import ImportedModel, export_api, export_ui
from orchestrator.catalog.import_export.ui.ui_to_api import convert_ui_to_api
from tests.support.canvas import api, drawn, import_pinned, imported, parameters
from tests.support.drafts import FACTS


def whole(source: str, file: str, strength: float = 1.0, clip: float | None = None) -> Any:
    """A loader for model and text encoder."""
    strengths = {"strength_model": strength, "strength_clip": strength if clip is None else clip}
    return "LoraLoader", "", {"model": [source, 0], "clip": [source, 1], "lora_name": file} | strengths


def plain(source: str, file: str, strength: Any = 1.0) -> Any:
    """A loader for the model alone."""
    return "LoraLoaderModelOnly", "", {"model": [source, 0], "lora_name": file, "strength_model": strength}


def with_loras(last: str, text: str = "model", **loras: Any) -> dict[str, Any]:
    """A graph whose sampler takes the model from `last`, and whose text the encoder from `text`."""
    graph = drawn(**loras)
    graph["sampler"]["inputs"]["model"] = [last, 0]
    graph["text"]["inputs"]["clip"] = [text, 1]
    return graph


def row() -> dict[str, Any]:
    return with_loras(
        "two", "two", one=whole("model", "ink.safetensors", 0.8), two=whole("one", "oil.safetensors")
    )


def parsed(result: ImportedModel) -> Model:
    assert result.problems == ()
    return Model.parse(result.manifest, result.graph, Path("drawn"))


def rendered(result: ImportedModel, **params: Any) -> dict[str, Any]:
    model = parsed(result)
    return model.render_graph(model.example_params(**params), filename_prefix="p")


def test_a_row_of_loras_is_a_list_with_the_authors_as_default() -> None:
    result = imported(row())
    assert parameters(result)["loras"] == {
        "type": "loras",
        "default": [{"name": "ink", "strength": 0.8}, {"name": "oil", "strength": 1.0}],
    }
    assert 'default = [{ name = "ink", strength = 0.8 }, { name = "oil", strength = 1.0 }]' in result.manifest
    assert (
        result.bound_inputs.items()
        >= {
            "one.lora_name": "{{ item.name }}.safetensors",
            "one.strength_model": "{{ item.strength }}",
            "one.strength_clip": "{{ item.strength }}",
        }.items()
    )
    graph = rendered(result)
    assert graph["one.0"]["inputs"] == whole("model", "ink.safetensors", 0.8)[2]
    assert graph["one.1"]["inputs"] == whole("one.0", "oil.safetensors")[2]
    assert graph["sampler"]["inputs"]["model"] == ["one.1", 0]
    assert graph["text"]["inputs"]["clip"] == ["one.1", 1]


def test_requests_have_other_loras_or_none() -> None:
    result = imported(row())
    graph = rendered(result, loras=[{"name": "gold", "strength": 0.5}])
    assert graph["one.0"]["inputs"]["lora_name"] == "gold.safetensors"
    assert "one.1" not in graph
    bare = rendered(result, loras=[])
    assert bare["sampler"]["inputs"]["model"] == ["model", 0]
    assert bare["text"]["inputs"]["clip"] == ["model", 1]


def test_the_authors_loras_are_weights_of_the_model() -> None:
    weights = {weight["path"] for weight in tomllib.loads(imported(row()).manifest)["weights"]}
    assert weights == {"checkpoints/base.safetensors", "loras/ink.safetensors", "loras/oil.safetensors"}


def test_the_range_includes_the_authors_strength() -> None:
    loras = {f"l{n}": plain(f"l{n - 1}" if n else "model", f"{n}.safetensors", 3.5) for n in range(6)}
    declared = parameters(imported(with_loras("l5", **loras)))["loras"]
    assert (declared["max_items"], declared["max_strength"], len(declared["default"])) == (6, 3.5, 6)
    assert "min_strength" not in declared


def test_loras_with_a_consumer_between_them_are_separate_lists() -> None:
    """The text listens to the first alone: each is a list of its own."""
    graph = with_loras(
        "two", "one", one=whole("model", "ink.safetensors"), two=plain("one", "oil.safetensors")
    )
    result = imported(graph)
    assert parameters(result)["loras"]["default"] == [{"name": "ink", "strength": 1.0}]
    assert parameters(result)["loras2"]["default"] == [{"name": "oil", "strength": 1.0}]
    made = rendered(result, loras2=[])
    assert made["sampler"]["inputs"]["model"] == ["one.0", 0]
    assert made["text"]["inputs"]["clip"] == ["one.0", 1]


@pytest.mark.parametrize(
    ("lora", "reason"),
    [
        (whole("model", "ink.safetensors", 1.0, clip=0.5), "one strength"),
        (plain("model", "mine/ink.safetensors"), "plain names"),
        (plain("model", "ink.pt"), "plain names"),
        (plain("model", "ink.safetensors", ["text", 0]), "one strength"),
        (plain("model", "{{ style }}"), "parameters"),
    ],
)
def test_unlistable_loras_stay_and_are_reported(lora: Any, reason: str) -> None:
    result = imported(with_loras("one", one=lora))
    assert "loras" not in parameters(result)
    (told,) = (line for line in result.open_questions if "LoRA" in line)
    assert "node one" in told
    assert reason in told


@pytest.mark.parametrize("format", ["api", "ui"])
def test_a_model_with_fixed_loras_survives_export_and_import(format: str) -> None:
    model = parsed(imported(row()))
    back = import_pinned(exported(model, format), id="drawn", facts=FACTS)
    assert back.manifest == model.source.manifest
    assert json.loads(back.graph) == model.source.template


def exported(model: Model, format: str) -> Any:
    graph = export_api(model) if format == "api" else export_ui(model, FACTS)
    return json.loads(json.dumps(graph))


def test_comfyui_shows_every_lora_as_a_node() -> None:
    data = exported(parsed(imported(row())), "ui")
    del data["extra"]["pixel_factory"]
    loaders = [
        node for node in convert_ui_to_api(data, FACTS).graph.values() if node["class_type"] == "LoraLoader"
    ]
    assert [node["inputs"]["lora_name"] for node in loaders] == ["ink.safetensors", "oil.safetensors"]


def changed(**inputs: Any) -> ImportedModel:
    data = exported(parsed(imported(row())), "api")
    data["one.1"]["inputs"] |= inputs
    return imported(data)


def test_an_author_changes_the_default_list() -> None:
    back = changed(lora_name="gold.safetensors", strength_clip=0.25)
    assert parameters(back)["loras"]["default"] == [
        {"name": "ink", "strength": 0.8},
        {"name": "gold", "strength": 0.25},
    ]
    assert json.loads(back.graph) == json.loads(imported(row()).graph)


def test_a_file_that_no_list_can_name_does_not_get_into_it() -> None:
    assert parameters(changed(lora_name="gold.pt")) == parameters(imported(row()))


def test_an_author_takes_one_out() -> None:
    data = exported(parsed(imported(row())), "api")
    del data["one.0"]
    data["one.1"]["inputs"] |= {"model": ["model", 0], "clip": ["model", 1]}
    back = imported(data)
    assert parameters(back)["loras"]["default"] == [{"name": "oil", "strength": 1.0}]
    assert json.loads(back.graph) == json.loads(imported(row()).graph)


def test_an_author_puts_a_node_between_two() -> None:
    """The second is no copy any more, but a node with its own values."""
    data = exported(parsed(imported(row())), "api")
    inputs = {"model": ["one.0", 0], "sampling": "eps", "zsnr": False}
    data |= api(between=("ModelSamplingDiscrete", "", inputs))
    data["one.1"]["inputs"] |= {"model": ["between", 0], "clip": ["model", 1]}
    back = imported(data)
    graph = rendered(back, loras=[])
    assert graph["between"]["inputs"]["model"] == ["model", 0]
    assert graph["one_1"]["inputs"]["lora_name"] == "oil.safetensors"
    assert graph["sampler"]["inputs"]["model"] == ["one_1", 0]
    assert parameters(back)["loras"]["default"] == [{"name": "ink", "strength": 0.8}]

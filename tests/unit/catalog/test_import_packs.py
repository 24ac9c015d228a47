"""Graphs with nodes of packs: what is kept without facts, and what facts make of it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog.checks.model_checks import validate_model
from orchestrator.catalog.import_export import ImportedModel, export_api, import_report, import_workflow
from orchestrator.catalog.model import Model
from orchestrator.catalog.publishing.installed_nodes import InstalledNodes
from tests.support.canvas import (
    api,
    drawn,
    image,
    imported,
    node,
    parameters,
    save,
    sdxl,
    socket,
    workflow,
)
from tests.support.drafts import FACTS, parse_imported

WEIGHT_FILES = [["x.safetensors"]]


def entry(required: Mapping[str, Any], *output: str, saves: bool = False, **optional: Any) -> dict[str, Any]:
    """Facts of one class."""
    return {
        "input": {"required": dict(required), "optional": optional},
        "output": list(output),
        "output_name": list(output),
        "output_node": saves,
        "category": "pack",
    }


SAMPLER = entry(
    {
        "model": ["MODEL"],
        "seed": ["INT", {"min": 0, "max": 2**64 - 1}],
        "steps": ["INT", {"default": 20, "min": 1, "max": 100}],
        "cfg": ["FLOAT", {"default": 7.0}],
        "sampler_name": [["euler", "heun"]],
        "positive": ["CONDITIONING"],
        "negative": ["CONDITIONING"],
        "latent_image": ["LATENT"],
        "preview": [["auto", "none"]],
    },
    "LATENT",
)
SAVER = entry({"images": ["IMAGE"], "path": ["STRING", {}], "quality": ["INT", {}]}, saves=True)
COMBINE = entry(
    {
        "images": ["IMAGE"],
        "frame_rate": ["FLOAT", {"default": 8}],
        "filename_prefix": ["STRING", {"default": "x"}],
        "format": [["image/gif", "video/h264-mp4"]],
    },
    "FILENAMES",
    saves=True,
)
JOIN = entry({"delimiter": ["STRING", {"default": ", "}], "tidy": [["true", "false"]]}, "STRING")
PACKS = {"TheirSampler": SAMPLER, "TheirImageSave": SAVER, "VideoCombine": COMBINE, "TheirJoin": JOIN}
IDENTITY = {"cnr_id": "their-pack", "ver": "1.0.2"}


def take(data: Any, packs: Mapping[str, Any] = PACKS, prompt: Any = None) -> ImportedModel:
    return import_workflow(
        data,
        id="drawn",
        facts=FACTS,
        today=date(2026, 7, 1),
        comfyui_version="0.33.0",
        pack_facts=packs,
        prompt=prompt,
    )


def parsed(result: ImportedModel) -> Model:
    return Model.parse(result.manifest, result.graph, Path("drawn"), result.files.get("nodes.json", "{}"))


def outputs(result: ImportedModel) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(result.manifest)["outputs"]
    return found


def with_their_sampler(values: list[Any]) -> dict[str, Any]:
    data = sdxl()
    data["nodes"][4] |= {"type": "TheirSampler", "widgets_values": values, "properties": IDENTITY}
    return data


VALUES = [42, None, 25, 6.5, "heun", "none"]


def test_values_of_an_unknown_sampler_become_parameters_with_its_facts() -> None:
    result = take(with_their_sampler(VALUES))
    assert result.usable
    assert parameters(result)["steps"]["default"] == 25
    assert result.bound_inputs["3.seed"] == "{{ seed }}"
    assert result.fixed_inputs["3.preview"] == "none"
    assert result.node_facts.keys() == {"TheirSampler"}
    model = parsed(result)
    assert model.source.node_facts == {"TheirSampler": SAMPLER}


def test_values_of_an_unknown_sampler_are_kept_by_position_without_facts() -> None:
    result = take(with_their_sampler(VALUES), {})
    assert not result.usable
    assert any(
        "--comfyui" in question and "their-pack 1.0.2" in question for question in result.open_questions
    )
    assert any("6 widget values of node 3 (TheirSampler)" in question for question in result.open_questions)
    report = import_report(result)
    assert report["unknown_classes"] == [
        {"class": "TheirSampler", "pack": "their-pack 1.0.2", "known_pack": "", "add": "", "nodes": ["3"]}
    ]
    assert {"node": "3", "class": "TheirSampler"}.items() <= report["problems"][0].items()
    again = take(export_api(parsed(result)))
    assert '"heun"' in again.graph


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([42, None, 25, 6.5], "4 widget values, the class takes"),
        ([*VALUES, "more", "and more"], "8 widget values, the class takes"),
        ([42, None, "heun", 25, 6.5, "none"], "'heun' at the position of steps"),
        ([42, None, 25, 6.5, "unheard of", "none"], "'unheard of' at the position of sampler_name"),
    ],
)
def test_values_of_another_version_are_never_usable(values: list[Any], said: str) -> None:
    result = take(with_their_sampler(values))
    assert not result.usable
    problem = next(each for each in result.problems if each.code == "widget_mismatch")
    assert problem.node == "3"
    assert said in problem.message


def test_names_of_the_other_graph_replace_uncertain_positions() -> None:
    prompt = {
        "3": {
            "class_type": "TheirSampler",
            "inputs": {"seed": 42, "steps": 30, "cfg": 5.0, "sampler_name": "heun"},
        }
    }
    result = take(with_their_sampler([42, None, 30]), prompt=prompt)
    assert result.usable
    assert parameters(result)["cfg_scale"]["default"] == 5.0
    assert result.fixed_inputs["3.sampler_name"] == "heun"


def test_tells_where_the_two_graphs_of_a_file_differ() -> None:
    prompt = {
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}}
    }
    result = take(sdxl(), prompt=prompt)
    assert not result.usable
    assert [(each.node, each.input, each.code) for each in result.problems] == [
        ("5", "width", "graphs_differ")
    ]
    assert "1024 and 512" in result.problems[0].message


def test_equal_graphs_of_a_file_are_no_problem() -> None:
    prompt = {
        "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 25, "cfg": 7.0, "denoise": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox b 1", "clip": ["4", 1]}},
    }
    assert take(sdxl(), prompt=prompt).usable


def test_an_input_that_the_class_has_no_more_is_told() -> None:
    data = workflow(
        node(1, "TheirJoin", gives=["STRING"], widgets_values=["false"], properties=IDENTITY),
        node(2, "PreviewAny", inputs=[socket("source", "*", 1)]),
        links=[[1, 1, 0, 2, 0, "STRING"]],
    )
    prompt = {"1": {"class_type": "TheirJoin", "inputs": {"linebreak": "false"}}}
    codes = {each.code for each in take(data, prompt=prompt).problems if not each.is_warning}
    assert codes == {"widget_mismatch", "graphs_differ"}


def test_rows_that_only_the_page_adds_are_kept() -> None:
    facts = {"Power Lora Loader (rgthree)": entry({}, "MODEL", "CLIP", model=["MODEL"], clip=["CLIP"])}
    row = {"on": True, "lora": "styles\\watercolor.safetensors", "strength": 0.7, "strengthTwo": None}
    data = sdxl()
    loader = node(
        20,
        "Power Lora Loader (rgthree)",
        inputs=[socket("model", "MODEL", 1)],
        gives=["MODEL", "CLIP"],
        widgets_values=[{}, {"type": "PowerLoraLoaderHeaderWidget"}, row, {}, ""],
    )
    data["nodes"].append(loader)
    data["links"][0] = [1, 4, 0, 20, 0, "MODEL"]
    data["links"].append([20, 20, 0, 3, 0, "MODEL"])
    data["nodes"][4]["inputs"][0]["link"] = 20
    result = take(data, facts)
    assert result.usable
    assert result.fixed_inputs["20.lora_1"] == row | {"lora": "styles/watercolor.safetensors"}


@pytest.mark.parametrize(
    ("class_type", "values"),
    [("TheirImageSave", ["out", 90]), ("VideoCombine", [8, "x", "video/h264-mp4"])],
)
def test_a_saver_of_a_pack_is_an_output_with_its_facts(class_type: str, values: list[Any]) -> None:
    data = workflow(
        image(1),
        node(
            2, class_type, inputs=[socket("images", "IMAGE", 1)], widgets_values=values, properties=IDENTITY
        ),
        links=[[1, 1, 0, 2, 0, "IMAGE"]],
    )
    result = take(data)
    assert result.usable
    media = "video" if class_type == "VideoCombine" else "image"
    assert outputs(result) == [{"node": "2", "media": media}]
    without = take(data, {})
    assert not without.usable
    assert without.unknown_classes == {class_type: "their-pack 1.0.2"}


def test_a_saver_of_a_pack_beside_another_is_kept() -> None:
    data = workflow(
        image(1),
        save(2, 1),
        node(
            3,
            "VideoCombine",
            inputs=[socket("images", "IMAGE", 2)],
            widgets_values=[8, "x", "video/h264-mp4"],
        ),
        links=[[1, 1, 0, 2, 0, "IMAGE"], [2, 1, 0, 3, 0, "IMAGE"]],
    )
    assert [row["node"] for row in outputs(take(data))] == ["2", "3"]
    without = take(data, {})
    assert [row["node"] for row in outputs(without)] == ["2", "3"]
    assert not without.usable


def test_names_unknown_classes_if_nothing_saves() -> None:
    data = api(
        empty=("EmptyImage", "", {"width": 8, "height": 8, "batch_size": 1, "color": 0}),
        theirs=("TheirFilter", "", {"strength": 1.0}),
    )
    with pytest.raises(Exception, match="TheirFilter") as raised:
        take(data)
    assert "no node of the graph saves" in str(raised.value)


def test_screens_and_muted_savers_are_left_out_and_told() -> None:
    data = workflow(
        image(1),
        save(2, 1),
        node(3, "PreviewImage", inputs=[socket("images", "IMAGE", 2)]),
        save(4, 3) | {"mode": 2},
        node(5, "Image Comparer (theirs)", inputs=[socket("a", "IMAGE", 4)]),
        links=[[at, 1, 0, at + 1, 0, "IMAGE"] for at in range(1, 5)],
    )
    result = take(data)
    assert result.usable
    assert [change.split(":")[0] for change in result.changes] == ["node 3", "node 5", "node 4"]
    assert "muted" in result.changes[2]


def test_images_for_the_socket_are_saved() -> None:
    result = take(drawn(save=("SaveImageWebsocket", "", {"images": ["decode", 0]})))
    assert result.usable
    assert result.bound_inputs["save.filename_prefix"] == "{{ filename_prefix }}"
    assert "SaveImageWebsocket" in result.changes[0]


@pytest.mark.parametrize(
    ("saver", "kind", "media"),
    [
        (("SaveAudio", "", {"audio": ["source", 0], "filename_prefix": ""}), "audio", "audio"),
        (("PreviewAny", "", {"source": ["source", 0]}), "text", "text"),
    ],
)
def test_sounds_and_texts_have_a_kind_and_price_class(saver: Any, kind: str, media: str) -> None:
    source = {
        "audio": ("EmptyAudio", "", {"duration": 1.0, "sample_rate": 44100, "channels": 2}),
        "text": ("PrimitiveString", "", {"value": "x"}),
    }[kind]
    result = take(api(source=source, save=saver))
    assert result.usable, result.problems
    assert f'kind = "{kind}"' in result.manifest
    assert f'price_class = "{kind}"' in result.manifest
    assert outputs(result) == [{"node": "save", "media": media}]


def test_custom_combos_keep_their_index() -> None:
    data = workflow(
        node(1, "CustomCombo", gives=["STRING", "INT"], widgets_values=["b", 1, "a", "b", ""]),
        node(2, "PreviewAny", inputs=[socket("source", "*", 1)]),
        links=[[1, 1, 1, 2, 0, "INT"]],
    )
    result = take(data)
    assert result.problems == ()
    assert result.fixed_inputs["1.index"] == 1
    assert result.fixed_inputs["1.option2"] == "b"


def test_names_the_known_pack_of_an_unknown_class() -> None:
    data = workflow(
        image(1),
        node(2, "VHS_VideoCombine", inputs=[socket("images", "IMAGE", 1)], widgets_values={"frame_rate": 8}),
        links=[[1, 1, 0, 2, 0, "IMAGE"]],
    )
    result = take(data, {})
    row = import_report(result)["unknown_classes"][0]
    assert row["known_pack"] == "https://github.com/Kosinkadink/ComfyUI-VideoHelperSuite"
    assert row["add"].startswith("pixelfactory packs add https://github.com/Kosinkadink/")
    assert any(row["add"] in question for question in result.open_questions)


def test_options_that_a_pack_adds_to_lists_of_comfyui() -> None:
    sampler = drawn()["sampler"]["inputs"] | {"sampler_name": "res_2s", "scheduler": "bong_tangent"}
    data = drawn(sampler=("KSampler", "", sampler))
    without = imported(data)
    assert not without.usable
    text = "; ".join(str(problem) for problem in without.problems)
    assert "'res_2s' is not one of its options; the node pack ClownsharkBatwing/RES4LYF adds it" in text
    assert "packs add https://github.com/ClownsharkBatwing/RES4LYF" in text
    packs = {"ClownsharKSampler_Beta": entry({}, "LATENT"), "Other": entry({}, "LATENT")}
    result = take(data, packs)
    assert result.usable, result.problems
    assert result.node_facts.keys() == {"ClownsharKSampler_Beta"}
    # The facts that are kept with the model are enough.
    assert not [each for each in validate_model(parse_imported(result), FACTS) if not each.is_warning]
    origin = {"id": "RES4LYF", "url": "", "commit": "0123abc"}
    installed = InstalledNodes({}, {"ClownsharKSampler_Beta": origin})
    assert installed.complete_origins(data, ()) == [origin]
    assert installed.complete_origins(drawn(), ()) == []
    nonsense = drawn(sampler=("KSampler", "", sampler | {"sampler_name": "nothing"}))
    assert not take(nonsense, packs).usable

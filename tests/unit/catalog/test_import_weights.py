"""Where the weight files of an imported graph belong, and what is asked if that is not known."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from orchestrator.catalog.import_export import ImportedModel, import_workflow
from orchestrator.catalog.known_folders import UNKNOWN_FOLDER, find_folders
from orchestrator.catalog.model import Model
from orchestrator.catalog.publishing.manifest_edits import find_missing
from orchestrator.catalog.publishing.submission import edit_files
from orchestrator.cli.authoring.node_facts import add_file_folders
from orchestrator.errors import InvalidRequest
from tests.support.canvas import node, save, socket, widget, workflow
from tests.support.drafts import FACTS
from tests.unit.catalog.test_import_packs import entry


def loading(class_type: str, input_name: str, file: str, *, properties: dict[str, Any] | None = None) -> Any:
    """A graph whose one loader names a file."""
    loader = node(1, class_type, inputs=[widget(input_name)], gives=["THING"], widgets_values=[file])
    return workflow(
        loader | {"properties": properties or {}},
        node(2, "StrangeMaker", inputs=[socket("thing", "THING", 1)], gives=["IMAGE"]),
        save(3, 2),
        links=[[1, 1, 0, 2, 0, "THING"], [2, 2, 0, 3, 0, "IMAGE"]],
    )


def take(data: Any, facts: Any = MappingProxyType({}), weight_paths: Any = ()) -> ImportedModel:
    return import_workflow(
        data,
        id="drawn",
        facts=FACTS,
        today=date(2026, 7, 1),
        comfyui_version="0.33.0",
        pack_facts=facts,
        weight_paths=weight_paths,
    )


def paths(result: ImportedModel) -> list[str]:
    return [row["path"] for row in tomllib.loads(result.manifest)["weights"]]


@pytest.mark.parametrize(
    ("class_type", "input_name", "folder"),
    [
        ("IPAdapterModelLoader", "ipadapter_file", "ipadapter"),
        ("CLIPVisionLoader", "clip_name", "clip_vision"),
        ("UnetLoaderGGUF", "unet_name", "diffusion_models"),
        ("CLIPLoaderGGUF", "clip_name", "text_encoders"),
        ("ADE_LoadAnimateDiffModel", "model_name", "animatediff_models"),
        ("UpscaleModelLoader", "model_name", "upscale_models"),
        ("CR Load LoRA", "lora_name", "loras"),
        ("easy instantIDApply", "instantid_file", "instantid"),
        ("WanVideoModelLoader", "model", "diffusion_models"),
        ("VAELoader", "vae_name", "vae"),
        ("StrangeLoader", "ckpt_name", "checkpoints"),
    ],
)
def test_files_belong_into_the_folder_that_the_class_searches(
    class_type: str, input_name: str, folder: str
) -> None:
    assert find_folders(class_type, input_name, {})[0] == folder


def test_facts_of_the_pack_say_the_folder() -> None:
    loader = entry({"face_file": ["COMBO"]}, "THING") | {"file_folders": {"face_file": ["faces"]}}
    result = take(loading("FaceLoader", "face_file", "a.onnx"), {"FaceLoader": loader})
    assert paths(result) == ["faces/a.onnx"]


def test_asks_for_a_folder_that_nothing_says() -> None:
    result = take(loading("FaceLoader", "face_file", "sub/a.bin"))
    assert paths(result) == [f"{UNKNOWN_FOLDER}/sub/a.bin"]
    assert any(
        "the folder of sub/a.bin, which face_file of the class FaceLoader loads" in question
        for question in result.open_questions
    )


def test_asks_which_of_several_folders_it_is() -> None:
    loader = entry({"model_name": ["COMBO"]}, "THING")
    loader["file_folders"] = {"model_name": ["checkpoints", "diffusion_models"]}
    facts = {"AnyLoader": loader}
    result = take(loading("AnyLoader", "model_name", "a.safetensors"), facts)
    assert paths(result) == ["checkpoints/a.safetensors"]
    question = "the folder of a.safetensors: checkpoints or diffusion_models; checkpoints until you change it"
    assert question in result.open_questions
    known = take(
        loading("AnyLoader", "model_name", "a.safetensors"),
        facts,
        ["loras/a.safetensors", "diffusion_models/a.safetensors"],
    )
    assert paths(known) == ["diffusion_models/a.safetensors"]


def test_the_author_s_own_computer_knows_the_folder() -> None:
    result = take(loading("FaceLoader", "face_file", "a.bin"), weight_paths=["faces/a.bin", "loras/b.bin"])
    assert paths(result) == ["faces/a.bin"]


def test_a_download_in_the_file_says_the_folder() -> None:
    models = [{"name": "a.bin", "url": "https://weights.example/a.bin", "directory": "faces"}]
    result = take(loading("FaceLoader", "face_file", "a.bin", properties={"models": models}))
    assert paths(result) == ["faces/a.bin"]


def test_a_model_is_not_live_before_its_folders_are_known() -> None:
    files = take(loading("FaceLoader", "face_file", "a.bin")).files

    def missing(now: Any) -> dict[str, str]:
        return find_missing(Model.parse(now["model.toml"], now["graph.json"], Path("drawn")).manifest)

    assert missing(files)["weight_folders"] == "the folders below models/ of a.bin"
    changed = edit_files(files, {"weight_folders": {"a.bin": "ipadapter"}}, []).files
    assert "weight_folders" not in missing(changed)
    for folders in (
        {"b.bin": "faces"},
        {"a.bin": "../x"},
        {"a.bin": ""},
        {"a.bin": UNKNOWN_FOLDER},
        ["a.bin"],
    ):
        with pytest.raises(InvalidRequest, match="weight_folders"):
            edit_files(files, {"weight_folders": folders}, [])


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("checkpoint", "did you mean checkpoints"),
        ("lora", "did you mean loras"),
        ("ip_adapter", "did you mean ipadapter"),
        ("nonsense", "there are LLM, animatediff_models,"),
        ("checkpoints/nowhere", "did you mean checkpoints"),
    ],
)
def test_rejects_a_folder_that_comfyui_does_not_have(folder: str, said: str) -> None:
    files = take(loading("FaceLoader", "face_file", "a.bin")).files
    with pytest.raises(InvalidRequest, match="no folder") as error:
        edit_files(files, {"weight_folders": {"a.bin": folder}}, [])
    assert said in str(error.value)


def test_takes_a_folder_that_a_pack_or_the_author_s_comfyui_has() -> None:
    files = take(loading("FaceLoader", "face_file", "a.bin")).files
    edits = {"weight_folders": {"a.bin": "faces"}}
    facts = {"Other": {"file_folders": {"file": ["faces"]}}}
    for known in ({"facts": facts}, {"weight_paths": ["faces/sub/b.bin"]}):
        changed = edit_files(files, edits, [], **known).files
        assert "faces/a.bin" in changed["model.toml"]


def test_a_running_comfyui_says_the_folders_of_its_files() -> None:
    nodes = {
        "FaceLoader": entry({"face_file": [["a.bin", "b.bin"]], "size": [["big", "small"]]}, "THING"),
        "Checkpoints": entry({"ckpt_name": [["c.safetensors"]]}, "THING"),
    }
    files = {"faces": ["b.bin", "a.bin"], "empty": [], "twice": ["c.safetensors"], "again": ["c.safetensors"]}
    found = add_file_folders(nodes, files)
    assert found["FaceLoader"]["file_folders"] == {"face_file": ["faces"]}
    assert "file_folders" not in found["Checkpoints"]

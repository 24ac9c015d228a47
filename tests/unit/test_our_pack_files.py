"""What our pack sends of the author's computer: folders of weights, and input files."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from custom_nodes.pixel_factory.publishing.example_files import (
    MAX_FILE_BYTES,
    read_example_files,
    save_input_files,
)
from custom_nodes.pixel_factory.publishing.link_types import find_link_types
from custom_nodes.pixel_factory.publishing.weights import find_weights
from tests.support.images import png


class FolderPaths(ModuleType):
    """ComfyUI's module of the same name, as far as the pack uses it."""

    def __init__(self, base: Path, outside: Path) -> None:
        super().__init__("folder_paths")
        self.models_dir = str(base / "models")
        self.base = base
        models = base / "models"
        self.folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {
            "configs": ([str(models / "configs")], set()),
            "diffusion_models": (
                [str(models / "unet"), str(models / "diffusion_models"), str(outside)],
                set(),
            ),
            "unet_gguf": ([str(models / "unet"), str(models / "diffusion_models"), str(outside)], set()),
            "ipadapter": ([str(models / "ipadapter")], set()),
        }

    def get_folder_paths(self, folder: str) -> list[str]:
        return self.folder_names_and_paths[folder][0]

    def get_full_path(self, folder: str, name: str) -> str | None:
        found = (Path(path) / name for path in self.get_folder_paths(folder))
        return next((str(file) for file in found if file.is_file()), None)

    def get_filename_list(self, folder: str) -> list[str]:
        endings = (".gguf",) if folder == "unet_gguf" else (".safetensors", ".bin")
        files = (file for path in self.get_folder_paths(folder) for file in Path(path).glob("*"))
        return sorted(file.name for file in files if file.name.endswith(endings))

    def get_input_directory(self) -> str:
        return str(self.base / "input")

    def get_user_directory(self) -> str:
        return str(self.base / "user")


@pytest.fixture
def comfyui(tmp_path: Path) -> Iterator[FolderPaths]:
    module = FolderPaths(tmp_path / "comfyui", tmp_path / "elsewhere")
    (tmp_path / "comfyui" / "input" / "sub").mkdir(parents=True)
    sys.modules["folder_paths"] = module
    yield module
    del sys.modules["folder_paths"]


def graph(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"1": {"class_type": class_type, "inputs": inputs}}


def facts(class_type: str, input_name: str, *options: str) -> dict[str, Any]:
    return {class_type: {"input": {"required": {input_name: [[*options]]}}}}


@pytest.mark.parametrize(
    ("folder", "sent"),
    [
        ("comfyui/models/diffusion_models", "diffusion_models"),
        ("comfyui/models/unet", "unet"),
        ("elsewhere", "diffusion_models"),
    ],
)
def test_weights_are_in_a_folder_that_exists_below_models(
    comfyui: FolderPaths, tmp_path: Path, folder: str, sent: str
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "flux.gguf").write_bytes(b"weights")
    known = facts("UnetLoaderGGUF", "unet_name", "flux.gguf")
    [row] = find_weights(graph("UnetLoaderGGUF", unet_name="flux.gguf"), known, compute=False)
    assert row == {"path": f"{sent}/flux.gguf", "bytes": 7}


def test_sends_the_input_files_that_the_graph_names(comfyui: FolderPaths, tmp_path: Path) -> None:
    inputs = comfyui.base / "input"
    (inputs / "hare.png").write_bytes(png(8, 8))
    (inputs / "sub" / "fox.png").write_bytes(png(8, 8))
    (inputs / "large.mp4").write_bytes(bytes(MAX_FILE_BYTES + 1))
    (inputs / "notes.txt").write_text("not a medium")
    (comfyui.base / "secret.png").write_bytes(png(8, 8))
    names = ["hare.png", "sub/fox.png [input]", "large.mp4", "notes.txt", "../secret.png", "none.png"]
    prompt = {str(n): {"class_type": "LoadImage", "inputs": {"image": name}} for n, name in enumerate(names)}
    sent = read_example_files(prompt | {"x": {"class_type": "Y", "inputs": None}, "z": None})
    assert [row["name"] for row in sent] == ["hare.png", "sub/fox.png"]
    assert all(row["data"].startswith("data:image/png;base64,") for row in sent)
    absolute = graph("LoadImage", image=str(comfyui.base / "secret.png"))
    assert read_example_files(absolute) == []


def test_writes_the_files_of_an_opened_model(comfyui: FolderPaths) -> None:
    inputs = comfyui.base / "input"
    (inputs / "here.png").write_bytes(b"same")
    (inputs / "other.png").write_bytes(b"of the author")
    data = "data:image/png;base64," + base64.b64encode(b"same").decode()
    names = ["new/hare.png", "here.png", "other.png", "../out.png", "", "notes.txt", "a\\b.png", "a\0.png"]
    rows = [{"name": name, "data": data} for name in names]
    found = save_input_files([*rows, {"name": "broken.png", "data": "data:image/png;base64,%"}])
    assert (found["saved"], found["kept"], found["different"]) == (
        ["new/hare.png"],
        ["here.png"],
        ["other.png"],
    )
    assert found["refused"] == ["../out.png", "", "notes.txt", "a\\b.png", "a\0.png", "broken.png"]
    assert (inputs / "new" / "hare.png").read_bytes() == b"same"
    assert (inputs / "other.png").read_bytes() == b"of the author"
    assert not (comfyui.base / "out.png").exists()


class NumberOf(str):
    """A type that equals several, as packs declare it."""

    def __ne__(self, other: object) -> bool:
        return other not in ("INT", "FLOAT")


class AnyType(str):
    """A type that equals all."""

    def __ne__(self, other: object) -> bool:
        return False


class Sized:
    RETURN_TYPES = ("IMAGE", "INT", "FLOAT", "MASK", "STRING")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"rate": (NumberOf("FLOAT"), {}), "plain": ("FLOAT", {}), "list": (["a", "b"],)}}


class Passing:
    RETURN_TYPES = (AnyType("THING"), AnyType("*"), NumberOf("INT"))

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"optional": {"anything": (AnyType("THING"),), "usual": (AnyType("*"),)}}


class Broken:
    RETURN_TYPES = None

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        raise RuntimeError


def test_finds_types_that_compare_as_they_like() -> None:
    classes = {"Sized": Sized, "Passing": Passing, "Broken": Broken}
    found = find_link_types(classes, classes.values())
    assert found == {
        "Sized": {"inputs": {"rate": ["INT"]}, "outputs": {}},
        "Passing": {"inputs": {"anything": ["*"]}, "outputs": {"0": ["*"], "2": ["FLOAT"]}},
    }

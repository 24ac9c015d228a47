"""The table of public node packs and their classes."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from comfy_instances.protocol.node_facts import load_core_node_facts, load_pack_node_facts
from orchestrator.catalog import known_packs
from orchestrator.catalog.known_packs import find_pack, find_pack_by_id

TABLE = json.loads(Path(known_packs.__file__).with_name("known_packs.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("class_name", "id"),
    [
        ("IPAdapterAdvanced", "cubiq/ComfyUI_IPAdapter_plus"),
        ("UnetLoaderGGUF", "city96/ComfyUI-GGUF"),
        ("VHS_VideoCombine", "Kosinkadink/ComfyUI-VideoHelperSuite"),
        ("Anything Everywhere", "chrisgoringe/cg-use-everywhere"),
        ("Power Lora Loader (rgthree)", "rgthree/rgthree-comfy"),
        ("A Class of Next Year (rgthree)", "rgthree/rgthree-comfy"),
    ],
)
def test_finds_the_pack_of_a_class(class_name: str, id: str) -> None:
    pack = find_pack(class_name)
    assert pack is not None
    assert (pack.id, pack.url) == (id, f"https://github.com/{id}")
    assert pack.add_command == f"pixelfactory packs add https://github.com/{id}@{pack.commit}"


@pytest.mark.parametrize("class_name", ["KSampler", "", "NoSuchClass"])
def test_finds_no_pack_of_core_and_unknown_classes(class_name: str) -> None:
    assert find_pack(class_name) is None


@pytest.mark.parametrize(
    "id",
    [
        "kijai/ComfyUI-KJNodes",
        "comfyui-kjnodes",
        "ComfyUI-KJNodes",
        "https://github.com/kijai/ComfyUI-KJNodes.git",
    ],
)
def test_finds_a_pack_by_the_ids_that_graphs_carry(id: str) -> None:
    pack = find_pack_by_id(id)
    assert pack is not None
    assert pack.name == "ComfyUI-KJNodes"


def test_finds_no_pack_by_an_unknown_id() -> None:
    assert find_pack_by_id("comfy-core") is None


def test_every_row_is_complete_and_no_class_has_two_packs_or_is_of_the_core() -> None:
    classes = Counter(name for row in TABLE.values() for name in row["classes"])
    assert len(classes) > 1900
    assert {name for name, count in classes.items() if count > 1} == set()
    assert classes.keys() & load_core_node_facts().keys() == set()
    for id, row in TABLE.items():
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", id)
        assert re.fullmatch(r"([0-9a-f]{40})?", row["commit"])


def test_knows_the_packs_of_the_models_that_ship() -> None:
    ours = {name for name in load_pack_node_facts() if not name.startswith("PixelFactory")}
    assert {find_pack(name) is not None for name in ours} == {True}

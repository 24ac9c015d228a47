"""Which packs models need, and what imports know about the nodes of installed packs."""

from __future__ import annotations

import dataclasses
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from comfy_instances.process.installation import Installation
from comfy_instances.process.installed_packs import (
    InstalledPack,
    PackRecord,
    facts_file,
    write_pack_record,
)
from orchestrator.app.pack_choice import (
    find_unmet_packs,
    find_untried_packs,
    load_installed_nodes,
    models_needing_pack,
    needed_packs,
)
from orchestrator.catalog.publishing.installed_nodes import InstalledNodes
from orchestrator.catalog.publishing.submission import Knowledge, Submission, SubmittedModel, build_model
from tests.support.drafts import FACTS
from tests.support.shipped import SHIPPED_CATALOG

COG = InstalledPack(
    name="ComfyUI-CogVideoXWrapper",
    url="https://github.com/kijai/ComfyUI-CogVideoXWrapper.git",
    ref="main",
    commit="c" * 40,
    tree="d" * 40,
)
INVERTER = InstalledPack(
    name="inverter-pack",
    url="https://example.com/somebody/inverter-pack",
    ref="v1",
    commit="a" * 40,
    tree="b" * 40,
    classes=("PackInverter",),
)
INVERTER_FACTS = {
    "input": {
        "required": {"image": ["IMAGE"], "strength": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0}]}
    },
    "input_order": {"required": ["image", "strength"]},
    "output": ["IMAGE"],
    "output_name": ["IMAGE"],
    "output_is_list": [False],
    "output_node": False,
    "category": "a pack",
}
GRAPH: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "PackInverter", "inputs": {"image": ["1", 0], "strength": 0.5}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
}


@pytest.fixture
def comfyui_dir(tmp_path: Path) -> Path:
    write_pack_record(tmp_path, PackRecord(environment="e", packs=(INVERTER, COG)))
    facts_file(tmp_path, INVERTER.name).parent.mkdir()
    facts_file(tmp_path, INVERTER.name).write_text(json.dumps({"nodes": {"PackInverter": INVERTER_FACTS}}))
    return tmp_path


def import_graph(installed: InstalledNodes, **fields: Any) -> SubmittedModel:
    knowledge = Knowledge(
        facts=FACTS, comfyui_version="0.33.0", offered=[], today=date(2026, 7, 1), installed=installed
    )
    return build_model(Submission(id="inverted", prompt=GRAPH, **fields), knowledge)


def test_a_graph_with_nodes_of_an_installed_pack_is_usable_and_names_the_pack(comfyui_dir: Path) -> None:
    built = import_graph(load_installed_nodes(comfyui_dir))
    assert built.usable
    assert "PackInverter" not in built.imported.unknown_classes
    [pack] = built.model.manifest.requires.packs
    assert (pack.name, pack.url, pack.ref) == (INVERTER.name, INVERTER.url, INVERTER.commit)


def test_the_same_graph_is_not_usable_without_the_pack(tmp_path: Path) -> None:
    built = import_graph(load_installed_nodes(tmp_path))
    assert not built.usable
    assert "PackInverter" in built.imported.unknown_classes


def test_what_the_author_s_comfyui_says_of_a_pack_counts_more(comfyui_dir: Path) -> None:
    origin = {"id": INVERTER.name, "url": "https://example.com/other/inverter-pack", "commit": "e" * 40}
    [pack] = import_graph(load_installed_nodes(comfyui_dir), packs=[origin]).model.manifest.requires.packs
    assert (pack.url, pack.ref) == (origin["url"], origin["commit"])
    unknown = {"id": INVERTER.name, "url": "", "commit": ""}
    [pack] = import_graph(load_installed_nodes(comfyui_dir), packs=[unknown]).model.manifest.requires.packs
    assert pack.ref == INVERTER.commit


def test_only_packs_that_models_need_are_loaded(comfyui_dir: Path) -> None:
    model = import_graph(load_installed_nodes(comfyui_dir)).model
    plain = SHIPPED_CATALOG["sdxl-1.0"]
    installed = [INVERTER, COG]
    assert set(needed_packs(lambda: [plain])(installed)) == set()
    assert set(needed_packs(lambda: [plain, model])(installed)) == {INVERTER.name}
    assert set(needed_packs(lambda: SHIPPED_CATALOG)(installed)) == {COG.name}
    # By its nodes, of a model whose manifest does not name it.
    unnamed = dataclasses.replace(INVERTER, name="renamed-pack", url="")
    assert set(needed_packs(lambda: [model])([unnamed])) == {"renamed-pack"}


def test_lists_the_models_that_need_a_pack_which_is_not_installed() -> None:
    assert models_needing_pack(SHIPPED_CATALOG, "comfyui-cogvideoxwrapper", None) == [
        "cogvideox-1.5-5b",
        "cogvideox-2b",
    ]


def test_says_which_packs_are_missing_or_of_another_version() -> None:
    missing = list(find_unmet_packs(SHIPPED_CATALOG, []))
    assert len(missing) == 2
    assert all("`pixelfactory packs add https://github.com/kijai/" in line for line in missing)
    other = list(find_unmet_packs(SHIPPED_CATALOG, [COG]))
    assert all(
        "was made with ComfyUI-CogVideoXWrapper 1.5.1; cccccccccccc is installed" in line for line in other
    )
    assert list(find_unmet_packs(SHIPPED_CATALOG, [dataclasses.replace(COG, ref="1.5.1")])) == []


def test_warns_where_comfyui_changed_after_the_packs_were_tried(tmp_path: Path) -> None:
    def warning(tried: str, installed: str) -> str | None:
        return find_untried_packs(
            Installation(
                directory=tmp_path,
                python=tmp_path / "python",
                main=tmp_path / "main.py",
                version="0.34.0",
                record={"commit": installed},
                packs=PackRecord(comfyui_commit=tried, packs=(INVERTER,)),
            )
        )

    assert warning("a" * 40, "a" * 40) is None
    text = warning("a" * 40, "b" * 40)
    assert text is not None
    assert "tried with ComfyUI aaaaaaaaaaaa, and bbbbbbbbbbbb is installed" in text

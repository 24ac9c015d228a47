"""Workflows that other people drew: ComfyUI's own templates, where a ComfyUI is installed.

`pytest -s` shows what became of them.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from orchestrator.catalog.import_export import InvalidWorkflow
from orchestrator.catalog.import_export.ui.ui_to_api import convert_ui_to_api
from tests.support.canvas import import_pinned
from tests.support.comfyui_server import installed_comfyui
from tests.support.drafts import FACTS
from tests.support.official_templates import official_templates

pytestmark = pytest.mark.comfyui


@pytest.fixture(scope="module")
def templates() -> dict[str, Any]:
    found = official_templates()
    if not found:
        pytest.skip("no ComfyUI with its templates is installed")
    return found


@pytest.fixture(scope="module")
def paid() -> frozenset[str]:
    """ComfyUI's own nodes that call other companies' paid services: our instances run without them."""
    folder = installed_comfyui()
    assert folder is not None
    files = folder.glob("source/comfy_api_nodes/*.py")
    return frozenset(name for file in files for name in re.findall(r'"(\w+)"', file.read_text("utf-8")))


NOTHING = "refused: no active node of a known class saves a result"
PAID = "calls paid services"
RETIRED = "has nodes that ComfyUI itself has no more"
PACKS = "has nodes of other packs"


def outcome(data: Any, paid: frozenset[str]) -> str:
    """What becomes of a template, in few words."""
    unknown = convert_ui_to_api(data, FACTS).unknown_classes
    try:
        result = import_pinned(data, id="template", facts=FACTS)
    except InvalidWorkflow as error:
        return NOTHING if str(error).startswith("no node of the graph saves") else f"refused: {error}"
    codes = {problem.code for problem in result.problems if not problem.is_warning}
    if not codes:
        return "right"
    if not unknown:
        return f"wrong: {', '.join(sorted(codes))}"
    others = {name: pack for name, pack in unknown.items() if name not in paid}
    if not others:
        return PAID
    return RETIRED if all(pack.startswith("comfy-core") for pack in others.values()) else PACKS


@pytest.mark.exhaustive
def test_official_templates_become_models(templates: dict[str, Any], paid: frozenset[str]) -> None:
    outcomes = Counter(outcome(data, paid) for data in templates.values())
    print(f"\n{len(templates)} official templates")
    for word, count in outcomes.most_common():
        print(f"{count:6} {word}")
    assert outcomes.keys() <= {"right", NOTHING, PAID, RETIRED, PACKS}
    assert outcomes["right"] > 200
    assert outcomes[NOTHING] + outcomes[RETIRED] + outcomes[PACKS] < 0.05 * len(templates)


def test_templates_with_known_nodes_have_the_parameters_of_their_kind(templates: dict[str, Any]) -> None:
    for name, expected in {
        "image_sdxl_simple": {"prompt", "negative_prompt", "seed", "steps", "cfg_scale", "width", "height"},
        "image_to_video_wan": {"prompt", "image", "num_frames", "fps", "width", "height", "seed", "steps"},
        "flux_schnell_full_text_to_image": {"prompt", "seed", "steps", "width", "height"},
        # By a chooser of resolutions, a formula of seconds and frames per second, and halved sides.
        "image_longcat_text_to_image": {"prompt", "width", "height"},
        "video_ltx2_3_i2v": {"num_frames", "fps", "width", "height"},
    }.items():
        if name in templates and not convert_ui_to_api(templates[name], FACTS).unknown_classes:
            manifest = import_pinned(templates[name], id="template", facts=FACTS).manifest
            missing = {word for word in expected if f"[parameters.{word}]" not in manifest}
            assert not missing, (name, missing)

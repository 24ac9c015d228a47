"""Workflows that other people drew: ComfyUI's own templates, where a ComfyUI is installed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from platformdirs import user_data_path

from orchestrator.catalog.exchange import BadWorkflow, import_workflow
from orchestrator.catalog.exchange.from_ui import convert
from tests.unit.catalog.drafts import FACTS

pytestmark = pytest.mark.comfyui

PACKAGE = "comfyui/venv/lib/python*/site-packages/comfyui_workflow_templates_json/templates/*.json"


@pytest.fixture(scope="module")
def templates() -> dict[str, Any]:
    """Workflows in UI format, by name."""
    files = sorted(user_data_path("pixelfactory").glob(PACKAGE))
    if not files:
        pytest.skip("no ComfyUI with its templates is installed")
    found = {file.stem: json.loads(file.read_text("utf-8")) for file in files}
    return {name: data for name, data in found.items() if isinstance(data, dict) and "nodes" in data}


def test_official_templates_become_models(templates: dict[str, Any]) -> None:
    """Every one converts; of those made of nodes we know, nearly all come out as models without a flaw."""
    known = {name: data for name, data in templates.items() if not convert(data, FACTS).unknown}
    right, refused = 0, []
    for name, data in known.items():
        try:
            result = import_workflow(data, id="template", facts=FACTS)
        except BadWorkflow as error:
            refused.append(f"{name}: {error}")
            continue
        right += all(problem.harmless for problem in result.problems)
    # The others have nothing to save: they end in text, or in what is only shown.
    assert all("saves a result" in line for line in refused), refused
    assert len(known) > 200
    assert right / len(known) > 0.95


def test_templates_with_known_nodes_have_the_parameters_of_their_kind(templates: dict[str, Any]) -> None:
    for name, expected in {
        "image_sdxl_simple": {"prompt", "negative_prompt", "seed", "steps", "cfg_scale", "width", "height"},
        "image_to_video_wan": {"prompt", "image", "num_frames", "fps", "width", "height", "seed", "steps"},
        "flux_schnell_full_text_to_image": {"prompt", "seed", "steps", "width", "height"},
    }.items():
        if name in templates and not convert(templates[name], FACTS).unknown:
            manifest = import_workflow(templates[name], id="template", facts=FACTS).manifest
            missing = {word for word in expected if f"[parameters.{word}]" not in manifest}
            assert not missing, (name, missing)

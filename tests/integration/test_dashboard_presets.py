"""Preset sizes of the playground are valid for their models."""

from __future__ import annotations

import pytest

from orchestrator.catalog import Catalog, Model
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from orchestrator.web.dashboard.presets import ASPECT_RATIOS, preset_sizes

CATALOG = Catalog.load(SHIPPED_WORKFLOWS_DIR)
SIZED = [model for model in CATALOG if "width" in model.parameters and model.parameters["width"].default]


@pytest.mark.parametrize("model", SIZED, ids=lambda model: model.id)
def test_every_preset_is_valid_and_has_its_aspect_ratio(model: Model) -> None:
    presets = preset_sizes(model)
    assert presets.keys() == ASPECT_RATIOS.keys()
    for name, (width, height) in presets.items():
        params = model.validate_params(model.example_params(width=width, height=height))
        made = model.round_up_to_grid(params)
        assert (made["width"], made["height"]) == (width, height)
        assert width / height == pytest.approx(float(ASPECT_RATIOS[name]), rel=0.07)


def test_presets_use_the_common_sizes() -> None:
    assert preset_sizes(CATALOG["flux-1-schnell"]) == {
        "1:1": (1024, 1024),
        "16:9": (1344, 768),
        "9:16": (768, 1344),
    }
    assert preset_sizes(CATALOG["wan2.1-t2v-fast"])["16:9"] == (832, 480)


def test_models_without_width_and_height_have_no_presets() -> None:
    assert preset_sizes(CATALOG["4x-ultrasharp"]) == {}
    assert preset_sizes(CATALOG["flux-1-dev-image-to-image"]) == {}

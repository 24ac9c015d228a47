"""Which variants of their weights the models that ship load on which card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from comfy_instances.hardware.profiles import load_gpu_profiles
from orchestrator.catalog import Model, ModelKind, WeightFile
from orchestrator.weights.planning import plan_downloads
from tests.support.drafts import CATALOG
from tests.support.weight_files import weight

MODELS = list(CATALOG)
#: Denoisers that gain little: mostly convolutions, or small, or loaded by a node pack of their own.
WITHOUT_NVFP4 = {"sdxl", "sd15", "cogvideox", "hunyuan3d"}
LARGE_BYTES = 4_000_000_000


def denoiser_slots(model: Model) -> set[str]:
    return {
        weight.slot
        for weight in model.manifest.weights
        if weight.folder in ("diffusion_models", "checkpoints") and weight.bytes >= LARGE_BYTES
    }


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_large_denoisers_are_nvfp4_on_blackwell_and_nowhere_else(model: Model) -> None:
    slots = denoiser_slots(model)
    if model.kind is ModelKind.TRAINER or model.manifest.architecture in WITHOUT_NVFP4:
        slots = set()
    for profile in load_gpu_profiles():
        chosen = {weight.slot: weight for weight in model.select_weights(profile.weights)}
        is_blackwell = profile.capability is not None and profile.capability >= (10, 0)
        for slot in slots:
            assert (chosen[slot].dtype == "nvfp4") == is_blackwell, (profile.name, slot)
        if is_blackwell and slots:
            assert "estimated from" in model.manifest.estimate_for(profile.name).estimated_from
            assert model.manifest.estimate_for(profile.name).vram_bytes <= model.manifest.resources.vram_bytes
        if not is_blackwell:
            assert not any(weight.dtype in ("nvfp4", "mxfp8") for weight in chosen.values())


def test_models_with_one_file_agree_about_it() -> None:
    for profile in load_gpu_profiles():
        plan_downloads(MODELS, profile.weights, Path("/nowhere"))
    made = {w.path: w for model in MODELS for w in model.manifest.weights if w.made_by}
    assert len(made) >= 20
    for model in MODELS:
        for row in model.manifest.weights:
            assert row.path not in made or row.source == made[row.path].source, model.id


def made_row(**changes: Any) -> WeightFile:
    source = {"path": "diffusion_models/wide.safetensors", "url": "https://host/wide.safetensors"}
    row: dict[str, Any] = {"url": "", "sha256": "", "dtype": "nvfp4", "made_by": "quantize", "source": source}
    return weight(**(row | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": None}, "`made_by` needs a `source`"),
        ({"made_by": ""}, "a `source` needs `made_by`"),
        ({"url": "https://host/file"}, "has no `url` and no `sha256`"),
        ({"dtype": "bf16"}, "needs a dtype of nvfp4, mxfp8, fp8"),
        ({"source": {"path": "../wide.safetensors"}}, "must be FOLDER/FILE"),
    ],
)
def test_a_row_that_is_made_needs_its_source_and_no_url(changes: dict[str, Any], words: str) -> None:
    assert made_row().source is not None
    with pytest.raises(ValidationError, match=words):
        made_row(**changes)

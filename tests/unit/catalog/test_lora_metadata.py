"""What headers of LoRA files say, in the words of several trainers."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.catalog.library import Catalog
from orchestrator.catalog.lora_metadata import architectures_of_lora

WORKFLOWS = Path(__file__).resolve().parents[3] / "workflows"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("stable-diffusion-xl-v1-base/lora", "sdxl"),
        ("sdxl_base_v1-0", "sdxl"),
        ("stable-diffusion-v1/lora", "sd15"),
        ("sd_v1", "sd15"),
        ("sd_1.5", "sd15"),
        ("sd_v2_v", "sd2"),
        ("sd3.5-large", "sd3"),
        ("flux-1-dev/lora", "flux"),
        ("flux1", "flux"),
        ("Flux.1-dev", "flux"),
        ("flux2_dev", "flux2"),
        ("flux-2-klein-base-9b", "flux2-klein-9b"),
        ("qwen_image_edit", "qwen-image"),
        ("zimage:turbo", "z-image"),
        ("wan2.1", "wan2.1"),
        ("wan22_14b", "wan2.2"),
        ("hunyuan-video", "hunyuan-video"),
    ],
)
@pytest.mark.parametrize("key", ["modelspec.architecture", "ss_base_model_version"])
def test_reads_the_architecture(key: str, written: str, expected: str) -> None:
    assert architectures_of_lora({key: written})[0] == expected


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"ss_base_model_version": ""},
        {"ss_base_model_version": None},
        {"modelspec.architecture": "something new"},
        {"format": "pt"},
    ],
)
def test_knows_nothing_of_other_headers(metadata: dict[str, object]) -> None:
    assert architectures_of_lora(metadata) == ()


def test_the_next_key_counts_where_the_first_tells_nothing() -> None:
    assert architectures_of_lora({"modelspec.architecture": "?", "ss_base_model_version": "flux1"}) == (
        "flux",
    )


def test_loras_of_wan_fit_both_versions() -> None:
    assert set(architectures_of_lora({"ss_base_model_version": "wan2.1"})) == {"wan2.1", "wan2.2"}


def test_every_model_that_takes_loras_takes_those_that_name_its_architecture() -> None:
    for model in Catalog.load(WORKFLOWS):
        if model.lora_inputs:
            assert model.lora_base in architectures_of_lora({"modelspec.architecture": model.lora_base}), (
                model.id
            )

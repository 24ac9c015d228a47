"""Which profile a card gets, and that the shipped profiles are sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_instances.hardware.gpus import Gpu
from comfy_instances.hardware.profiles import load_gpu_profiles, select_gpu_profile

GB = 10**9


def card(capability: tuple[int, int], memory: int | None = 24 * GB) -> Gpu:
    return Gpu(
        index=0,
        uuid="GPU-0",
        name="some card",
        pci_id="00000000:01:00.0",
        capability=capability,
        memory_total=memory,
        memory_free=memory,
    )


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        (card((12, 0), 102 * GB), "blackwell-96gb"),  # RTX PRO 6000
        (card((10, 0), 192 * GB), "blackwell-96gb"),  # B200
        (card((12, 0), 34 * GB), "blackwell"),  # RTX 5090
        (card((12, 1), None), "blackwell"),  # GB10, whose memory is the machine's
        (card((9, 0), 150 * GB), "hopper"),
        (card((8, 9)), "ada"),
        (card((8, 6)), "ampere"),
        (card((8, 0), 85 * GB), "ampere"),
        (card((7, 5)), "turing"),
        (card((6, 1)), "default"),
        (None, "cpu"),
    ],
)
def test_finds_the_profile_of_a_gpu(gpu: Gpu | None, name: str) -> None:
    assert select_gpu_profile(gpu, load_gpu_profiles()).name == name


def test_the_cpu_profile_keeps_off_gpus() -> None:
    assert "--cpu" in select_gpu_profile(None, load_gpu_profiles()).flags


def test_fp4_is_preferred_only_where_the_hardware_has_it() -> None:
    for profile in load_gpu_profiles():
        has_fp4 = profile.capability is not None and profile.capability >= (10, 0)
        assert ("nvfp4" in profile.weights) == has_fp4


def test_an_unknown_field_is_named(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text('[[profile]]\nname = "x"\nflag = []\nweights = []\nflags = []\n')
    with pytest.raises(ValueError, match="flag"):
        load_gpu_profiles(file)

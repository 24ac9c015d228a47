"""Which fleet is chosen from what was asked for and what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_instances.fleet.fleet_factory import (
    AdoptServers,
    FleetChoice,
    RunComfyUI,
    RunSimulators,
    choose_fleet_kind,
)
from comfy_instances.hardware.gpus import Gpu
from comfy_instances.process.installation import Installation

INSTALL = Installation(
    directory=Path("/opt/comfyui"),
    python=Path("/opt/comfyui/venv/bin/python"),
    main=Path("/opt/comfyui/source/main.py"),
    version="0.33.0",
    record={},
)
GPU = Gpu(
    index=0,
    uuid="GPU-0",
    name="NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
    pci_id="00000000:01:00.0",
    capability=(12, 0),
    memory_total=102 * 10**9,
    memory_free=100 * 10**9,
)
URLS = ("http://127.0.0.1:8188", "http://10.0.0.2:8188")


@pytest.mark.parametrize(
    ("urls", "simulate", "install", "gpus", "expected"),
    [
        (URLS, 3, INSTALL, [GPU], AdoptServers(URLS)),
        ((), 3, INSTALL, [GPU], RunSimulators(3)),
        ((), 0, INSTALL, [GPU, GPU], RunComfyUI(INSTALL, (GPU, GPU))),
        ((), 0, INSTALL, [], RunComfyUI(INSTALL, (None,))),
    ],
)
def test_first_that_applies(
    urls: tuple[str, ...], simulate: int, install: Installation | None, gpus: list[Gpu], expected: FleetChoice
) -> None:
    assert choose_fleet_kind(urls=urls, simulate=simulate, installation=install, gpus=gpus) == expected


def test_several_on_the_cpu_where_there_is_no_gpu() -> None:
    def chosen(gpus: list[Gpu]) -> object:
        return choose_fleet_kind(urls=(), simulate=0, installation=INSTALL, gpus=gpus, cpu_instances=3)

    assert chosen([]) == RunComfyUI(INSTALL, (None, None, None))
    assert chosen([GPU]) == RunComfyUI(INSTALL, (GPU,))


@pytest.mark.parametrize(("gpus", "count"), [(0, 2), (1, 2), (8, 8)])
def test_without_comfyui_simulators_run_with_a_notice(gpus: int, count: int) -> None:
    choice = choose_fleet_kind(urls=(), simulate=0, installation=None, gpus=[GPU] * gpus)
    assert isinstance(choice, RunSimulators)
    assert choice.count == count
    assert choice.notice is not None
    assert "comfyui install" in choice.notice

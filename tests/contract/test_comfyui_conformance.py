"""The simulator, and a real ComfyUI where one is installed, do what a real one was recorded doing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conformance_scenarios import SCENARIOS, play
from tests.contract.record_comfyui import RECORDING
from tests.support.comfyui_server import ComfyUIServer, installed_comfyui, real_comfyui, simulator


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    recording: dict[str, Any] = json.loads(RECORDING.read_text())
    return recording


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIServer]:
    with simulator(tmp_path_factory.mktemp("simulator")) as server:
        yield server


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIServer]:
    folder: Path | None = installed_comfyui()
    if folder is None:
        pytest.skip("no ComfyUI is installed (pixelfactory comfyui install)")
    with real_comfyui(folder, tmp_path_factory.mktemp("comfyui")) as server:
        yield server


@pytest.mark.parametrize("name", SCENARIOS)
async def test_simulator(name: str, simulated: ComfyUIServer, recorded: dict[str, Any]) -> None:
    assert await play(name, simulated.url) == recorded[name]


@pytest.mark.comfyui
@pytest.mark.parametrize("name", SCENARIOS)
async def test_real_comfyui(name: str, real: ComfyUIServer, recorded: dict[str, Any]) -> None:
    assert await play(name, real.url) == recorded[name]

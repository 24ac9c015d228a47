"""How instances are launched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfy_instances.hardware.gpus import Gpu
from comfy_instances.hardware.profiles import load_gpu_profiles
from comfy_instances.process.installation import Installation
from comfy_instances.process.installed_packs import InstalledPack, PackRecord
from comfy_instances.process.launch import LaunchSpec, comfyui_launch_specs, simulator_launch_specs


@pytest.fixture
def install(tmp_path: Path) -> Installation:
    source = tmp_path / "comfyui" / "source"
    (source / "custom_nodes").mkdir(parents=True)
    (source / "custom_nodes" / "websocket_image_save.py").touch()
    (tmp_path / "comfyui" / "custom_nodes" / "pixel_factory").mkdir(parents=True)
    return Installation(
        directory=tmp_path / "comfyui",
        python=tmp_path / "comfyui" / "venv" / "bin" / "python",
        main=source / "main.py",
        version="0.33.0",
        record={},
    )


def launches(install: Installation, tmp_path: Path, gpus: list[Gpu]) -> list[LaunchSpec]:
    return comfyui_launch_specs(
        install,
        directory=tmp_path / "instances",
        models_dir=tmp_path / "models",
        gpus=gpus,
        profiles=load_gpu_profiles(),
    )


def test_one_per_gpu_each_with_its_own_device_and_directory(install: Installation, tmp_path: Path) -> None:
    cards = [
        Gpu(
            index=number,
            uuid=f"GPU-{number}",
            name="NVIDIA RTX PRO 6000",
            pci_id=f"00000000:0{number}:00.0",
            capability=(12, 0),
            memory_total=102 * 10**9,
            memory_free=100 * 10**9,
        )
        for number in range(8)
    ]
    made = launches(install, tmp_path, cards)
    assert [launch.id for launch in made] == [f"gpu-{number}" for number in range(8)]
    assert [launch.environment["CUDA_VISIBLE_DEVICES"] for launch in made] == [gpu.uuid for gpu in cards]
    assert len({launch.directory for launch in made}) == 8
    assert all("fp8_matrix_mult" in launch.command for launch in made)
    assert all("--cpu" not in launch.command for launch in made)


def test_one_on_the_cpu_where_there_is_no_gpu(install: Installation, tmp_path: Path) -> None:
    (launch,) = launches(install, tmp_path, [])
    assert (launch.id, launch.device) == ("cpu-0", "cpu")
    assert "--cpu" in launch.command
    assert launch.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_partner_nodes_are_off_and_custom_nodes_on_a_list(install: Installation, tmp_path: Path) -> None:
    (launch,) = launches(install, tmp_path, [])
    assert "--disable-api-nodes" in launch.command
    allowed = launch.command[launch.command.index("--whitelist-custom-nodes") + 1 :]
    assert allowed == ("pixel_factory", "websocket_image_save.py")
    assert [pack.name for pack in launch.node_packs] == list(allowed)


def test_simulators(tmp_path: Path) -> None:
    made = simulator_launch_specs(2, directory=tmp_path, time_scale=0.25, vram_gb=48)
    assert [launch.id for launch in made] == ["sim-0", "sim-1"]
    assert made[0].command[-4:] == ("--time-scale", "0.25", "--vram-gb", "48")
    assert all(launch.simulated and launch.vram_total == 48 * 2**30 for launch in made)
    assert made[0].environment == {"SSL_CERT_FILE": "/dev/null"}


def test_managed_packs_run_in_their_own_environment_on_loopback_without_an_index(
    install: Installation, tmp_path: Path
) -> None:
    packs = tuple(
        InstalledPack(name=name, url="https://example.com/a/b", ref="main", commit="a" * 40, tree="b" * 40)
        for name in ("one-pack", "other-pack")
    )
    install = replace(install, packs=PackRecord(environment="e1", packs=packs))

    def launch(*names: str) -> LaunchSpec:
        (spec,) = comfyui_launch_specs(
            install,
            directory=tmp_path / "instances",
            models_dir=tmp_path / "models",
            gpus=[],
            profiles=load_gpu_profiles(),
            choose_packs=lambda installed: names,
        )
        return spec

    spec = launch("one-pack")
    assert spec.command[0] == str(tmp_path / "comfyui" / "pack-environments" / "e1" / "bin" / "python")
    assert spec.command[spec.command.index("--listen") + 1] == "127.0.0.1"
    allowed = spec.command[spec.command.index("--whitelist-custom-nodes") + 1 :]
    assert allowed == ("pixel_factory", "websocket_image_save.py", "one-pack")
    [copied] = spec.copied_packs
    assert copied.directory == tmp_path / "comfyui" / "packs" / "one-pack" / "aaaaaaaaaaaa"
    assert (spec.environment["PIP_NO_INDEX"], spec.environment["PIP_REQUIRE_HASHES"]) == ("1", "1")

    plain = launch()
    assert plain.command[0] == str(install.python)
    assert plain.copied_packs == ()
    assert "PIP_NO_INDEX" not in plain.environment

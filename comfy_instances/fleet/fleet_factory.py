"""Chooses the fleet to run: adopted servers, simulators, or one local ComfyUI per device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from comfy_instances.fleet.adopted import AdoptedFleet
from comfy_instances.fleet.local import COMFYUI_RESTART_POLICY, LocalFleet
from comfy_instances.fleet.protocol import Fleet
from comfy_instances.hardware.gpus import Gpu
from comfy_instances.process.installation import Installation
from comfy_instances.process.installed_packs import PackChoice, load_no_packs

#: Simulators to run if no ComfyUI is installed and no instances were requested.
DEFAULT_SIMULATOR_COUNT = 2
SIMULATED_NOTICE = (
    "ComfyUI is not installed, so {count} SIMULATED instances run instead: their images show "
    "parameters, not the work of models. Run `pixelfactory comfyui install` for real ones."
)


@dataclass(frozen=True, slots=True)
class AdoptServers:
    """Adopt servers that are already running."""

    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunSimulators:
    """Run simulators. Show `notice` prominently if set: the simulators were not requested."""

    count: int
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class RunComfyUI:
    """Run one ComfyUI per GPU, and one on the CPU for each None."""

    installation: Installation
    gpus: tuple[Gpu | None, ...]


FleetChoice = AdoptServers | RunSimulators | RunComfyUI


def choose_fleet_kind(
    *,
    urls: Sequence[str],
    simulate: int,
    installation: Installation | None,
    gpus: Sequence[Gpu],
    cpu_instances: int = 1,
) -> FleetChoice:
    """Return the first choice that applies. Pure.

    Adopt `urls`; run `simulate` simulators; run the installed ComfyUI once per GPU, or `cpu_instances` times
    on the CPU if there is no GPU; run simulators with a notice.
    """
    if urls:
        return AdoptServers(tuple(urls))
    if simulate > 0:
        return RunSimulators(simulate)
    if installation is not None:
        return RunComfyUI(installation, tuple(gpus) or (None,) * cpu_instances)
    count = max(DEFAULT_SIMULATOR_COUNT, len(gpus))
    return RunSimulators(count, SIMULATED_NOTICE.format(count=count))


def create_fleet(
    choice: FleetChoice,
    *,
    directory: Path,
    models_dir: Path,
    time_scale: float,
    startup_seconds: float,
    choose_packs: PackChoice = load_no_packs,
) -> Fleet:
    """Create the chosen fleet without starting it. `directory` gets one folder per local instance;
    `time_scale` applies to simulators, `choose_packs` to ComfyUI. Raises FleetError or OSError."""
    if isinstance(choice, AdoptServers):
        return AdoptedFleet(choice.urls)
    if isinstance(choice, RunSimulators):
        return LocalFleet.simulated(
            choice.count, directory=directory, time_scale=time_scale, models_dir=models_dir
        )
    return LocalFleet.comfyui(
        choice.installation,
        directory=directory,
        models_dir=models_dir,
        gpus=choice.gpus,
        policy=replace(COMFYUI_RESTART_POLICY, startup_seconds=startup_seconds),
        choose_packs=choose_packs,
    )

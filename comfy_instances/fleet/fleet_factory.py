"""Which fleet to run: adopted servers, simulators, or a ComfyUI of our own per device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from comfy_instances.fleet.adopted import AdoptedFleet
from comfy_instances.fleet.local import COMFYUI_RESTART_POLICY, LocalFleet
from comfy_instances.fleet.protocol import Fleet
from comfy_instances.hardware.gpus import Gpu
from comfy_instances.process.installation import Installation

#: Where nothing is installed and nothing was asked for.
DEFAULT_SIMULATOR_COUNT = 2
SIMULATED_NOTICE = (
    "ComfyUI is not installed, so {count} SIMULATED instances stand in for it: their pictures show "
    "parameters, not models. Run `pixelfactory comfyui install` for real ones."
)


@dataclass(frozen=True, slots=True)
class AdoptServers:
    """Watch servers that run already."""

    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunSimulators:
    """Run simulators. `notice` is to be shown loudly: nobody asked for them."""

    count: int
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class RunComfyUI:
    """Run one ComfyUI per GPU, on the CPU for each None."""

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
    """The first of these that applies: adopt `urls`, run `simulate` simulators, run what is installed on
    each of `gpus` or, without one, `cpu_instances` times on the CPU, run simulators with a notice. PURE."""
    if urls:
        return AdoptServers(tuple(urls))
    if simulate > 0:
        return RunSimulators(simulate)
    if installation is not None:
        return RunComfyUI(installation, tuple(gpus) or (None,) * cpu_instances)
    count = max(DEFAULT_SIMULATOR_COUNT, len(gpus))
    return RunSimulators(count, SIMULATED_NOTICE.format(count=count))


def create_fleet(
    choice: FleetChoice, *, directory: Path, models_dir: Path, time_scale: float, startup_seconds: float
) -> Fleet:
    """The chosen fleet, not started. `directory` gets one folder per local instance, `time_scale` is for
    simulators. Raises FleetError or OSError."""
    if isinstance(choice, AdoptServers):
        return AdoptedFleet(choice.urls)
    if isinstance(choice, RunSimulators):
        return LocalFleet.simulated(choice.count, directory=directory, time_scale=time_scale)
    return LocalFleet.comfyui(
        choice.installation,
        directory=directory,
        models_dir=models_dir,
        gpus=choice.gpus,
        policy=replace(COMFYUI_RESTART_POLICY, startup_seconds=startup_seconds),
    )

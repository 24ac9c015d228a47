"""Instances that we launch, keep running and stop: simulators, or one real ComfyUI per device."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from comfy_instances.fleet import InstanceInfo, InstanceState
from comfy_instances.gpus import Gpu
from comfy_instances.installation import Install
from comfy_instances.launches import Launch, comfyui_launches, simulator_launches
from comfy_instances.policy import Rules
from comfy_instances.profiles import load_profiles
from comfy_instances.roster import Roster
from comfy_instances.session import FileRef
from comfy_instances.supervisor import Supervisor

log = logging.getLogger(__name__)
#: A simulator is a light process that is ready in a second and has no reason to fall silent.
SIMULATOR_RULES = Rules(startup_seconds=30, hung_seconds=15, stop_seconds=3)
COMFYUI_RULES = Rules()


class LocalFleet(Roster):
    """One supervised child per `Launch`. They die with this process, kill -9 included (Linux)."""

    def __init__(self, launches: Sequence[Launch], *, rules: Rules) -> None:
        super().__init__(
            InstanceInfo(
                id=launch.id,
                url="",
                state=InstanceState.STARTING,
                simulated=launch.simulated,
                device=launch.device,
                vram_total=launch.vram_total,
                profile=launch.profile,
                pci_id=launch.pci_id,
                adopted=False,
            )
            for launch in launches
        )
        self._supervisors = {launch.id: Supervisor(launch, rules, self) for launch in launches}

    @classmethod
    def simulated(
        cls,
        count: int,
        *,
        directory: Path,
        time_scale: float = 0.0,
        vram_gb: int = 96,
        rules: Rules = SIMULATOR_RULES,
    ) -> LocalFleet:
        """`count` simulators with their directories under `directory`. `time_scale` is the factor on
        simulated times."""
        launches = simulator_launches(count, directory=directory, time_scale=time_scale, vram_gb=vram_gb)
        return cls(launches, rules=rules)

    @classmethod
    def comfyui(
        cls,
        install: Install,
        *,
        directory: Path,
        models_dir: Path,
        gpus: Sequence[Gpu | None] = (),
        rules: Rules = COMFYUI_RULES,
    ) -> LocalFleet:
        """One ComfyUI per GPU (on the CPU for each None, and where there is neither), with their directories
        under `directory` and the weights in `models_dir`, which is made if it is missing. Raises OSError."""
        models_dir.mkdir(parents=True, exist_ok=True)
        launches = comfyui_launches(
            install, directory=directory, models_dir=models_dir, gpus=gpus, profiles=load_profiles()
        )
        return cls(launches, rules=rules)

    async def start(self) -> None:
        for instance_id, supervisor in self._supervisors.items():
            self._begin(instance_id, supervisor.run())

    async def restart(self, instance_id: str) -> None:
        self._member(instance_id)
        self._supervisors[instance_id].restart()

    def log_tail(self, instance_id: str, lines: int = 200) -> list[str]:
        self._member(instance_id)
        return self._supervisors[instance_id].output.tail(lines)

    async def forget_files(self, instance_id: str, files: Sequence[FileRef]) -> None:
        self._member(instance_id)
        await asyncio.to_thread(forget, self._supervisors[instance_id].launch.directory, files)


def forget(directory: Path, files: Sequence[FileRef]) -> None:
    """Delete files of an instance's own folders; what lies outside of them is left alone, with a warning."""
    for file in files:
        folder = directory / file.type
        path = (folder / file.subfolder / file.filename).resolve()
        if file.type not in ("input", "output", "temp") or not path.is_relative_to(folder.resolve()):
            log.warning("not deleted, it lies outside of %s: %s", folder, path)
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("cannot delete %s: %s", path, error)
        if file.type == "input" and file.subfolder:
            # Made for these files alone; an instance offers every folder in its option lists.
            with suppress(OSError):
                path.parent.rmdir()

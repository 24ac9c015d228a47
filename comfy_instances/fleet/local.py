"""Local instances, launched and supervised here: simulators, or one real ComfyUI per device."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from comfy_instances.fleet.fleet_base import FleetBase
from comfy_instances.fleet.pack_changes import RefreshLaunchSpec, RestartTurn
from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from comfy_instances.fleet.supervisor import Supervisor
from comfy_instances.hardware.gpus import Gpu
from comfy_instances.hardware.profiles import load_gpu_profiles
from comfy_instances.process.installation import Installation
from comfy_instances.process.installed_packs import PackChoice, load_no_packs, read_pack_record
from comfy_instances.process.launch import LaunchSpec, comfyui_launch_specs, simulator_launch_specs
from comfy_instances.process.restart_policy import RestartPolicy
from comfy_instances.protocol.server_log import LogSpan
from comfy_instances.session.session import FileRef

log = logging.getLogger(__name__)
#: Simulators start within a second and respond at once, so their timeouts are short.
SIMULATOR_RESTART_POLICY = RestartPolicy(startup_seconds=30, hang_timeout_seconds=15, stop_timeout_seconds=3)
COMFYUI_RESTART_POLICY = RestartPolicy()


class LocalFleet(FleetBase):
    """One supervised child per launch spec. The children die with this process, even by SIGKILL (Linux)."""

    def __init__(
        self,
        launch_specs: Sequence[LaunchSpec],
        *,
        policy: RestartPolicy,
        refresh: RefreshLaunchSpec | None = None,
    ) -> None:
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
            for launch in launch_specs
        )
        turn = RestartTurn()
        self._supervisors = {
            launch.id: Supervisor(launch, policy, self, refresh, turn) for launch in launch_specs
        }

    @classmethod
    def simulated(
        cls,
        count: int,
        *,
        directory: Path,
        time_scale: float = 0.0,
        vram_gb: int = 96,
        models_dir: Path | None = None,
        policy: RestartPolicy = SIMULATOR_RESTART_POLICY,
    ) -> LocalFleet:
        """Create a fleet of `count` simulators with their directories under `directory`. `time_scale` is the
        factor on simulated times; the files in `models_dir` are listed as those of the instances."""
        launches = simulator_launch_specs(
            count, directory=directory, time_scale=time_scale, vram_gb=vram_gb, models_dir=models_dir
        )
        return cls(launches, policy=policy)

    @classmethod
    def comfyui(
        cls,
        installation: Installation,
        *,
        directory: Path,
        models_dir: Path,
        gpus: Sequence[Gpu | None] = (),
        policy: RestartPolicy = COMFYUI_RESTART_POLICY,
        choose_packs: PackChoice = load_no_packs,
    ) -> LocalFleet:
        """Create a fleet of one ComfyUI per GPU, one on the CPU for each None, and one on the CPU if `gpus`
        is empty. Their directories are under `directory`; the weights are in `models_dir`, which is created
        if it is missing. Each start loads the managed packs that are installed and chosen then.
        Raises OSError."""
        models_dir.mkdir(parents=True, exist_ok=True)
        profiles = load_gpu_profiles()

        def build(found: Installation) -> list[LaunchSpec]:
            return comfyui_launch_specs(
                found,
                directory=directory,
                models_dir=models_dir,
                gpus=gpus,
                profiles=profiles,
                choose_packs=choose_packs,
            )

        def refresh(spec: LaunchSpec) -> LaunchSpec:
            found = replace(installation, packs=read_pack_record(installation.directory))
            return next(fresh for fresh in build(found) if fresh.id == spec.id)

        return cls(build(installation), policy=policy, refresh=refresh)

    async def start(self) -> None:
        for instance_id, supervisor in self._supervisors.items():
            self._start_watcher(instance_id, supervisor.run())

    async def restart(self, instance_id: str) -> None:
        self._get_member(instance_id)
        self._supervisors[instance_id].request_restart()

    def record_failure(self, instance_id: str) -> None:
        self._get_member(instance_id)
        self._supervisors[instance_id].record_failure()

    async def log_tail(self, instance_id: str, lines: int = 200, period: LogSpan | None = None) -> list[str]:
        self._get_member(instance_id)
        return self._supervisors[instance_id].log_file.tail(lines, period)

    async def delete_files(self, instance_id: str, files: Sequence[FileRef]) -> None:
        self._get_member(instance_id)
        await asyncio.to_thread(
            delete_instance_files, self._supervisors[instance_id].launch_spec.directory, files
        )


def delete_instance_files(directory: Path, files: Sequence[FileRef]) -> None:
    """Delete files in an instance's folders. Files outside of them are kept, with a warning."""
    for file in files:
        folder = directory / file.type
        path = (folder / file.subfolder / file.filename).resolve()
        if file.type not in ("input", "output", "temp") or not path.is_relative_to(folder.resolve()):
            log.warning("file not deleted because it is outside of %s: %s", folder, path)
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("cannot delete %s: %s", path, error)
        if file.type == "input" and file.subfolder:
            # The upload created the folder, and the instance would go on listing it as an option.
            with suppress(OSError):
                path.parent.rmdir()

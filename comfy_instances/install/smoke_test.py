"""Starts an installed ComfyUI once, asks it what it is, and stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import FleetError, InstanceInfo, InstanceState
from comfy_instances.hardware.gpus import Gpu
from comfy_instances.process.installation import Installation
from comfy_instances.process.restart_policy import RestartPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeTestResult:
    """What it said."""

    version: str | None
    device: str
    #: Its `/object_info`: facts by node class.
    object_info: Mapping[str, Any] = field(repr=False)
    #: Seconds from launch to ready.
    startup_seconds: float


async def run_smoke_test(
    installation: Installation, gpus: Sequence[Gpu], startup_seconds: float
) -> SmokeTestResult:
    """Start it on the first GPU, or on the CPU. Raises FleetError with its last words where it does not
    get ready within `startup_seconds`, or is not the version that its source says."""
    with TemporaryDirectory(prefix="pixelfactory-trial-") as name:
        directory = Path(name)
        fleet = LocalFleet.comfyui(
            installation,
            directory=directory,
            models_dir=directory / "models",
            gpus=gpus[:1],
            policy=RestartPolicy(startup_seconds=startup_seconds),
        )
        clock = asyncio.get_running_loop().time
        begun = clock()
        await fleet.start()
        try:
            info = await _wait_for_first_state(fleet)
            facts = fleet.node_facts(info.id)
            words = fleet.log_tail(info.id, 5)
        finally:
            await fleet.stop()
    if info.state is not InstanceState.READY or facts is None:
        raise FleetError(f"ComfyUI does not start: {info.detail} ({' / '.join(words)})")
    if info.version != installation.version:
        raise FleetError(f"its source is version {installation.version}, but it says {info.version}")
    return SmokeTestResult(
        version=info.version, device=info.device, object_info=facts, startup_seconds=clock() - begun
    )


async def _wait_for_first_state(fleet: LocalFleet) -> InstanceInfo:
    """Its state once it is no longer starting; there is no second try here."""
    verdict: asyncio.Future[InstanceInfo] = asyncio.get_running_loop().create_future()

    def on_change(info: InstanceInfo) -> None:
        if info.state is not InstanceState.STARTING and not verdict.done():
            verdict.set_result(info)

    unsubscribe = fleet.subscribe(on_change)
    try:
        return await verdict
    finally:
        unsubscribe()

"""Starts an installed ComfyUI once, reads its version and node facts, and stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from comfy_instances.fleet.fleet_base import FleetBase
from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import FleetError, InstanceInfo, InstanceState
from comfy_instances.fleet.supervisor import PORT_TAKEN
from comfy_instances.hardware.gpus import Gpu
from comfy_instances.process.installation import Installation
from comfy_instances.process.restart_policy import RestartPolicy
from comfy_instances.tasks import loop_time

#: The supervision's reason, and that of the system.
_PORT_REASONS = (PORT_TAKEN, "address already in use")


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeTestResult:
    """What the started instance reported."""

    version: str | None
    device: str
    #: Its `/object_info`: node facts by class name.
    object_info: Mapping[str, Any] = field(repr=False)
    #: Seconds from launch to ready.
    startup_seconds: float


async def run_smoke_test(
    installation: Installation, gpus: Sequence[Gpu], startup_seconds: float
) -> SmokeTestResult:
    """Start ComfyUI on the first GPU, or on the CPU, and return its facts.

    Raises FleetError if it is not ready within `startup_seconds`, with the end of its output, or if it
    reports another version than its source.
    """
    with TemporaryDirectory(prefix="pixelfactory-trial-") as name:
        directory = Path(name)
        fleet = LocalFleet.comfyui(
            installation,
            directory=directory,
            models_dir=directory / "models",
            gpus=gpus[:1],
            policy=RestartPolicy(startup_seconds=startup_seconds),
        )
        started_at = loop_time()
        await fleet.start()
        try:
            info = await wait_for_first_state(fleet)
            facts = fleet.node_facts(info.id)
            log_lines = await fleet.log_tail(info.id, 5)
        finally:
            await fleet.stop()
    if info.state is not InstanceState.READY or facts is None:
        raise FleetError(f"ComfyUI does not start: {info.detail} ({' / '.join(log_lines)})")
    if info.version != installation.version:
        raise FleetError(f"ComfyUI's source is version {installation.version}, but it reports {info.version}")
    return SmokeTestResult(
        version=info.version,
        device=info.device,
        object_info=facts,
        startup_seconds=loop_time() - started_at,
    )


async def wait_for_first_state(fleet: FleetBase) -> InstanceInfo:
    """Return the instance's info as soon as it is no longer starting; a failed start is not retried.

    One whose port another program took is: the fleet starts it again on another one.
    """
    first_state: asyncio.Future[InstanceInfo] = asyncio.get_running_loop().create_future()

    def on_change(info: InstanceInfo) -> None:
        if info.state is not InstanceState.STARTING and not _lost_port(info) and not first_state.done():
            first_state.set_result(info)

    unsubscribe = fleet.subscribe(on_change)
    try:
        return await first_state
    finally:
        unsubscribe()


def _lost_port(info: InstanceInfo) -> bool:
    """Return whether a start failed because another program has its port, and is repeated."""
    text = (info.detail or "").casefold()
    return info.state is InstanceState.DOWN and any(reason in text for reason in _PORT_REASONS)

"""Asks an instance how it is: `/system_stats` and `/queue` in one answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from comfy_instances.process.restart_policy import HealthSample
from comfy_instances.session.session import DeviceStats, InstanceQueue, InstanceSession, SystemStats


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthReport:
    """What an instance says of itself. Sizes are bytes."""

    version: str | None
    #: Name of the GPU, `cpu` or `simulated`.
    device: str
    vram_total: int | None
    vram_free: int | None
    #: Its command line.
    argv: tuple[str, ...]
    #: Prompts under way, and prompts in its queue.
    running: int
    waiting: int

    @property
    def simulated(self) -> bool:
        return self.device == "simulated"

    def to_health_sample(self, memory: int | None = None) -> HealthSample:
        return HealthSample(running=self.running, waiting=self.waiting, memory=memory)

    def was_launched_in(self, directory: Path) -> bool:
        """Whether the process that answers is the one that we launched with this base directory."""
        return str(directory) in self.argv


async def check_health(session: InstanceSession, timeout_seconds: float) -> HealthReport:
    """Raises InstanceError where the instance is gone or answers wrongly, TimeoutError where
    that takes longer."""
    async with asyncio.timeout(timeout_seconds):
        stats, queue = await asyncio.gather(session.get_system_stats(), session.get_queue())
    return build_health_report(stats, queue)


def build_health_report(stats: SystemStats, queue: InstanceQueue) -> HealthReport:
    """PURE."""
    device = stats.devices[0] if stats.devices else DeviceStats("unknown", "cpu", None, 0, 0)
    has_vram = device.type != "cpu"
    return HealthReport(
        version=stats.version,
        device=_short_device_name(device.name),
        vram_total=device.vram_total if has_vram else None,
        vram_free=device.vram_free if has_vram else None,
        argv=stats.argv,
        running=len(queue.running),
        waiting=len(queue.pending),
    )


def _short_device_name(name: str) -> str:
    """`cuda:0 NVIDIA H200 : cudaMallocAsync` -> `NVIDIA H200`; simulators begin with `simulated`."""
    if name.startswith("simulated"):
        return "simulated"
    place, _, rest = name.partition(" ")
    return (rest if place.startswith("cuda:") and rest else name).split(" : ")[0]

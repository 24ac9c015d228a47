"""Probes the health of an instance: `/system_stats` and `/queue` in one report."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from comfy_instances.process.restart_policy import HealthSample
from comfy_instances.session.session import DeviceStats, InstanceQueue, InstanceSession, SystemStats


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthReport:
    """The result of a health probe. Sizes are bytes."""

    version: str | None
    #: The GPU's name, `cpu` or `simulated`.
    device: str
    vram_total: int | None
    vram_free: int | None
    #: The command line of its process.
    argv: tuple[str, ...]
    #: Numbers of running and waiting prompts.
    running: int
    waiting: int

    @property
    def simulated(self) -> bool:
        return self.device == "simulated"

    def to_health_sample(self, memory: int | None = None) -> HealthSample:
        return HealthSample(running=self.running, waiting=self.waiting, memory=memory)

    def was_launched_in(self, directory: Path) -> bool:
        """Whether the responding process is the one that was launched with this base directory."""
        return str(directory) in self.argv


async def check_health(session: InstanceSession, timeout_seconds: float) -> HealthReport:
    """Probe an instance. Raises InstanceError if it is gone or responds wrongly, TimeoutError after
    `timeout_seconds`."""
    async with asyncio.timeout(timeout_seconds):
        stats, queue = await asyncio.gather(session.get_system_stats(), session.get_queue())
    return build_health_report(stats, queue)


def build_health_report(stats: SystemStats, queue: InstanceQueue) -> HealthReport:
    """Combine the two responses into a report. Pure."""
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
    """Shorten `cuda:0 NVIDIA H200 : cudaMallocAsync` to `NVIDIA H200`, a simulator's name to `simulated`."""
    if name.startswith("simulated"):
        return "simulated"
    prefix, _, rest = name.partition(" ")
    return (rest if prefix.startswith("cuda:") and rest else name).split(" : ")[0]

"""Asks an instance how it is: `/system_stats` and `/queue` in one answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from comfy_instances.policy import Health
from comfy_instances.session import Device, Queue, Session, SystemStats


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
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

    def health(self, memory: int | None = None) -> Health:
        return Health(running=self.running, waiting=self.waiting, memory=memory)

    def launched_in(self, directory: Path) -> bool:
        """Whether the process that answers is the one that we launched with this base directory."""
        return str(directory) in self.argv


async def ask(session: Session, within_seconds: float) -> Report:
    """Raises InstanceError where the instance is gone or answers wrongly, TimeoutError where
    that takes longer."""
    async with asyncio.timeout(within_seconds):
        stats, queue = await asyncio.gather(session.stats(), session.queue())
    return read_report(stats, queue)


def read_report(stats: SystemStats, queue: Queue) -> Report:
    """PURE."""
    device = stats.devices[0] if stats.devices else Device("unknown", "cpu", None, 0, 0)
    has_vram = device.type != "cpu"
    return Report(
        version=stats.version,
        device=_short_name(device.name),
        vram_total=device.vram_total if has_vram else None,
        vram_free=device.vram_free if has_vram else None,
        argv=stats.argv,
        running=len(queue.running),
        waiting=len(queue.pending),
    )


def _short_name(name: str) -> str:
    """`cuda:0 NVIDIA H200 : cudaMallocAsync` -> `NVIDIA H200`; simulators begin with `simulated`."""
    if name.startswith("simulated"):
        return "simulated"
    place, _, rest = name.partition(" ")
    return (rest if place.startswith("cuda:") and rest else name).split(" : ")[0]

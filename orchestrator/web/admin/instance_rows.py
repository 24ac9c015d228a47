"""All that operators may know of each instance, brought together from fleet, scheduler, work and NVML."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any

from comfy_instances.fleet.protocol import InstanceInfo, UnknownInstance
from comfy_instances.hardware import gpus
from comfy_instances.hardware.gpus import GpuStats
from orchestrator.execution.dispatcher import Active, Dispatcher

#: How old a GPU's reading may be, in seconds: NVML itself samples no faster.
FRESH_SECONDS = 1.0


class GpuReadings:
    """The latest reading of each card, taken in a thread: a driver may take its time."""

    def __init__(self, read: Callable[[str], GpuStats | None] = gpus.read_gpu_stats) -> None:
        self._read = read
        self._readings: dict[str, GpuStats | None] = {}
        self._taken = float("-inf")
        self._lock = asyncio.Lock()

    async def refresh(self, pci_ids: Sequence[str]) -> None:
        async with self._lock:
            if pci_ids and monotonic() - self._taken >= FRESH_SECONDS:
                self._readings = await asyncio.to_thread(self._read_all, pci_ids)
                self._taken = monotonic()

    def of(self, pci_id: str | None) -> GpuStats | None:
        return None if pci_id is None else self._readings.get(pci_id)

    def _read_all(self, pci_ids: Sequence[str]) -> dict[str, GpuStats | None]:
        return {pci_id: self._read(pci_id) for pci_id in pci_ids}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One instance."""

    info: InstanceInfo
    #: Models in its memory, least recently used first, as far as the scheduler knows.
    held: tuple[str, ...]
    #: What it has been given, the running shard first.
    assigned: tuple[Active, ...]
    #: Share of the last minute in which it ran a prompt, 0 to 1.
    busy: float
    #: None where it has no GPU, or one that is not on this machine.
    gpu: GpuStats | None

    @property
    def vram_used(self) -> int | None:
        """Bytes: as the driver says, else as the instance itself says."""
        if self.gpu is not None and self.gpu.memory_used is not None:
            return self.gpu.memory_used
        total, free = self.info.vram_total, self.info.vram_free
        return None if total is None or free is None else total - free


class InstanceRows:
    """Rows of the instances of one dispatcher."""

    def __init__(self, dispatcher: Dispatcher, busy: Callable[[str], float], readings: GpuReadings) -> None:
        """`busy` says how busy the instance with an id was of late."""
        self._dispatcher = dispatcher
        self._busy = busy
        self._readings = readings

    async def refresh(self) -> None:
        """Reads the GPUs anew; all else is always as it is."""
        found = {info.pci_id for info in self._dispatcher.fleet.instances()}
        await self._readings.refresh(sorted(pci_id for pci_id in found if pci_id))

    def all(self) -> Iterator[Row]:
        for info in self._dispatcher.fleet.instances():
            card = self._dispatcher.scheduler.cards.get(info.id)
            yield Row(
                info=info,
                held=tuple(card.held) if card else (),
                assigned=tuple(self._dispatcher.assigned(info.id)),
                busy=self._busy(info.id),
                gpu=self._readings.of(info.pci_id),
            )

    def one(self, instance_id: str) -> Row:
        """Raises UnknownInstance."""
        for row in self.all():
            if row.info.id == instance_id:
                return row
        raise UnknownInstance(instance_id)


def view(row: Row, now: datetime) -> dict[str, Any]:
    """A row as the admin API shows it: bytes, seconds, degrees Celsius, watts, shares from 0 to 1."""
    info, gpu = row.info, row.gpu
    return {
        "id": info.id,
        "url": info.url,
        "state": info.state.value,
        "since": info.since.isoformat() if info.since else None,
        "started_at": info.started_at.isoformat() if info.started_at else None,
        "detail": info.detail,
        "device": info.device,
        "profile": info.profile,
        "pci_id": info.pci_id,
        "simulated": info.simulated,
        "adopted": info.adopted,
        "version": info.version,
        "busy": round(row.busy, 4),
        "utilisation": gpu.utilisation if gpu else None,
        "temperature": gpu.temperature if gpu else None,
        "power": gpu.power if gpu else None,
        "vram_total": info.vram_total,
        "vram_free": info.vram_free,
        "vram_used": row.vram_used,
        "memory": info.memory,
        "restarts": info.restarts,
        "failures": info.failures,
        "models_held": list(row.held),
        "shards": [
            _shard(active, "waiting" if place else "running", now)
            for place, active in enumerate(row.assigned)
        ],
    }


def _shard(active: Active, state: str, now: datetime) -> dict[str, Any]:
    """`age_seconds` counts from when the shard was given to the instance."""
    attempt = active.attempt
    return {
        "shard": active.shard.id,
        "job": active.job.id,
        "model": active.job.model,
        "state": state,
        "attempt": attempt.number if attempt else 0,
        "age_seconds": round((now - attempt.started_at).total_seconds(), 3) if attempt else 0.0,
    }

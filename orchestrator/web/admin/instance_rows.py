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
from orchestrator.execution.dispatcher import ActiveShard, Dispatcher

#: How old a GPU's reading may be, in seconds: NVML itself samples no faster.
GPU_STATS_MAX_AGE_SECONDS = 1.0


class GpuStatsCache:
    """The latest reading of each card, taken in a thread: a driver may take its time."""

    def __init__(self, read_gpu_stats: Callable[[str], GpuStats | None] = gpus.read_gpu_stats) -> None:
        self._read_gpu_stats = read_gpu_stats
        self._stats_by_pci_id: dict[str, GpuStats | None] = {}
        self._refreshed_at = float("-inf")
        self._lock = asyncio.Lock()

    async def refresh(self, pci_ids: Sequence[str]) -> None:
        async with self._lock:
            if pci_ids and monotonic() - self._refreshed_at >= GPU_STATS_MAX_AGE_SECONDS:
                self._stats_by_pci_id = await asyncio.to_thread(self._read_all, pci_ids)
                self._refreshed_at = monotonic()

    def get(self, pci_id: str | None) -> GpuStats | None:
        return None if pci_id is None else self._stats_by_pci_id.get(pci_id)

    def _read_all(self, pci_ids: Sequence[str]) -> dict[str, GpuStats | None]:
        return {pci_id: self._read_gpu_stats(pci_id) for pci_id in pci_ids}


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceRow:
    """One instance."""

    info: InstanceInfo
    #: Models in its memory, least recently used first, as far as the scheduler knows.
    loaded_models: tuple[str, ...]
    #: What it has been given, the running shard first.
    assigned_shards: tuple[ActiveShard, ...]
    #: Share of the last minute in which it ran a prompt, 0 to 1.
    busy_ratio: float
    #: None where it has no GPU, or one that is not on this machine.
    gpu_stats: GpuStats | None

    @property
    def vram_used(self) -> int | None:
        """Bytes: as the driver says, else as the instance itself says."""
        if self.gpu_stats is not None and self.gpu_stats.memory_used is not None:
            return self.gpu_stats.memory_used
        total, free = self.info.vram_total, self.info.vram_free
        return None if total is None or free is None else total - free


class InstanceRows:
    """Rows of the instances of one dispatcher."""

    def __init__(
        self, dispatcher: Dispatcher, busy_ratio: Callable[[str], float], gpu_stats: GpuStatsCache
    ) -> None:
        """`busy_ratio` says how busy the instance with an id was of late."""
        self._dispatcher = dispatcher
        self._busy_ratio = busy_ratio
        self._gpu_stats = gpu_stats

    async def refresh_gpu_stats(self) -> None:
        """Reads the GPUs anew; all else is always as it is."""
        found = {info.pci_id for info in self._dispatcher.fleet.instances()}
        await self._gpu_stats.refresh(sorted(pci_id for pci_id in found if pci_id))

    def iter_rows(self) -> Iterator[InstanceRow]:
        for info in self._dispatcher.fleet.instances():
            card = self._dispatcher.scheduler.instances.get(info.id)
            yield InstanceRow(
                info=info,
                loaded_models=tuple(card.loaded_models) if card else (),
                assigned_shards=tuple(self._dispatcher.assigned_shards(info.id)),
                busy_ratio=self._busy_ratio(info.id),
                gpu_stats=self._gpu_stats.get(info.pci_id),
            )

    def get_row(self, instance_id: str) -> InstanceRow:
        """Raises UnknownInstance."""
        for row in self.iter_rows():
            if row.info.id == instance_id:
                return row
        raise UnknownInstance(instance_id)


def to_instance_response(row: InstanceRow, now: datetime) -> dict[str, Any]:
    """A row as the admin API shows it: bytes, seconds, degrees Celsius, watts, shares from 0 to 1."""
    info, gpu = row.info, row.gpu_stats
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
        "busy": round(row.busy_ratio, 4),
        "utilisation": gpu.utilisation if gpu else None,
        "temperature": gpu.temperature if gpu else None,
        "power": gpu.power if gpu else None,
        "vram_total": info.vram_total,
        "vram_free": info.vram_free,
        "vram_used": row.vram_used,
        "memory": info.memory,
        "restarts": info.restarts,
        "failures": info.failures,
        "models_held": list(row.loaded_models),
        "shards": [
            _to_assigned_shard(active, "waiting" if place else "running", now)
            for place, active in enumerate(row.assigned_shards)
        ],
    }


def _to_assigned_shard(active: ActiveShard, state: str, now: datetime) -> dict[str, Any]:
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

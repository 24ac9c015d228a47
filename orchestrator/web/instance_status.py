"""The status of each instance, joined from fleet, scheduler, running shards and NVML.

The admin API and the metrics show it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from comfy_instances.fleet.protocol import InstanceInfo, InstanceState, UnknownInstance
from comfy_instances.hardware import gpus
from comfy_instances.hardware.gpus import GpuStats
from orchestrator.execution.active_shards import ActiveShard
from orchestrator.execution.scheduler.instances import Instance

#: Oldest GPU reading that is used, in seconds; NVML itself samples no faster.
GPU_STATS_MAX_AGE_SECONDS = 1.0


class GpuStatsCache:
    """The latest NVML reading of each GPU. Read in a thread, because the driver may block."""

    def __init__(self, read_gpu_stats: Callable[[str], GpuStats | None] = gpus.read_gpu_stats) -> None:
        self._read_gpu_stats = read_gpu_stats
        self._stats_by_pci_id: dict[str, GpuStats | None] = {}
        self._refreshed_at = float("-inf")
        self._lock = asyncio.Lock()

    async def refresh(self, pci_ids: Sequence[str]) -> None:
        """Read these GPUs if the last reading is too old."""
        async with self._lock:
            if pci_ids and monotonic() - self._refreshed_at >= GPU_STATS_MAX_AGE_SECONDS:
                self._stats_by_pci_id = await asyncio.to_thread(self._read_all, pci_ids)
                self._refreshed_at = monotonic()

    def get(self, pci_id: str | None) -> GpuStats | None:
        """Return the last reading of a GPU; None if there is none."""
        return None if pci_id is None else self._stats_by_pci_id.get(pci_id)

    def _read_all(self, pci_ids: Sequence[str]) -> dict[str, GpuStats | None]:
        return {pci_id: self._read_gpu_stats(pci_id) for pci_id in pci_ids}


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceRow:
    """The status of one instance."""

    info: InstanceInfo
    #: Models in its memory according to the scheduler, least recently used first.
    loaded_models: tuple[str, ...]
    #: Shards assigned to it, the running one first.
    assigned_shards: tuple[ActiveShard, ...]
    #: Share of the last minute in which it ran prompts, 0 to 1.
    busy_ratio: float
    #: None without a GPU, or if it is in another machine that does not report it.
    gpu_stats: GpuStats | None
    #: How results leave it: `direct`, `service` or `degraded`, and why; None before its first prompt.
    delivery: str | None = None
    delivery_detail: str | None = None
    #: Model that it loads ahead of requests; None for none.
    warming: str | None = None
    #: What it did in each minute of the last hour; see `FleetHistory.describe`.
    history: str = ""

    @property
    def state(self) -> str:
        """The state of the instance; `drained` once a draining one has finished its work."""
        is_drained = self.info.state is InstanceState.DRAINING and not self.assigned_shards
        return "drained" if is_drained else self.info.state.value

    @property
    def vram_used(self) -> int | None:
        """Used GPU memory in bytes, as reported by the driver or else by the instance."""
        if self.gpu_stats is not None and self.gpu_stats.memory_used is not None:
            return self.gpu_stats.memory_used
        total, free = self.info.vram_total, self.info.vram_free
        return None if total is None or free is None else total - free


class FleetInstances(Protocol):
    """The part of the fleet that lists its instances."""

    def instances(self) -> list[InstanceInfo]: ...


class InstanceRows:
    """Builds the rows of all instances."""

    def __init__(
        self,
        fleet: FleetInstances,
        scheduled_instances: Mapping[str, Instance],
        assigned_shards: Callable[[str], Sequence[ActiveShard]],
        busy_ratio: Callable[[str], float],
        gpu_stats: GpuStatsCache,
        *,
        delivery_way: Callable[[str], tuple[str | None, str | None]] = lambda _: (None, None),
        history: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`busy_ratio` returns the share of the last minute in which an instance ran prompts, `delivery_way`
        how results leave it, and why, `history` what it did in the last hour."""
        self._history = history
        self._delivery_way = delivery_way
        self._fleet = fleet
        self._scheduled_instances = scheduled_instances
        self._assigned_shards = assigned_shards
        self._busy_ratio = busy_ratio
        self._gpu_stats = gpu_stats

    async def refresh_gpu_stats(self) -> None:
        """Read the GPUs. Everything else in a row is always current."""
        found = {info.pci_id for info in self._fleet.instances()}
        await self._gpu_stats.refresh(sorted(pci_id for pci_id in found if pci_id))

    def iter_rows(self) -> Iterator[InstanceRow]:
        """Yield the status of all instances."""
        for info in self._fleet.instances():
            scheduled = self._scheduled_instances.get(info.id)
            way, reason = self._delivery_way(info.id)
            yield InstanceRow(
                info=info,
                loaded_models=tuple(scheduled.loaded_models) if scheduled else (),
                assigned_shards=tuple(self._assigned_shards(info.id)),
                busy_ratio=self._busy_ratio(info.id),
                gpu_stats=info.gpu or self._gpu_stats.get(info.pci_id),
                delivery=way,
                delivery_detail=reason,
                warming=(scheduled.warming or None) if scheduled else None,
                history=self._history(info.id),
            )

    def get_row(self, instance_id: str) -> InstanceRow:
        """Return the status of one instance. Raises UnknownInstance."""
        for row in self.iter_rows():
            if row.info.id == instance_id:
                return row
        raise UnknownInstance(instance_id)

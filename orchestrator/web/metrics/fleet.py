"""Gauges of queue, jobs and instances, read at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from comfy_instances.fleet.protocol import InstanceState
from comfy_instances.hardware.gpus import GpuStats
from orchestrator.execution.active_shards import ActiveShard
from orchestrator.jobs import JobStatus
from orchestrator.web.instance_status import InstanceRow, InstanceRows
from pricing.money import to_usd

RowValue = Callable[[InstanceRow], float | None]

#: Name, help text and value of gauges by instance; unknown values are left out.
INSTANCE_GAUGES: tuple[tuple[str, str, RowValue], ...] = (
    ("instance_busy_ratio", "Share of the last minute in which it ran prompts", lambda row: row.busy_ratio),
    (
        "instance_shards",
        "Assigned shards, running and waiting",
        lambda row: len(row.assigned_shards),
    ),
    ("instance_models_held", "Models in its memory", lambda row: len(row.loaded_models)),
    ("instance_failures", "Failures of its process in a row", lambda row: row.info.failures),
    ("instance_memory_bytes", "Resident memory of its process", lambda row: row.info.memory),
    ("instance_vram_total_bytes", "Memory of its GPU", lambda row: row.info.vram_total),
    ("instance_vram_used_bytes", "Memory of its GPU in use", lambda row: row.vram_used),
)
#: The same for readings of the GPU driver.
GPU_GAUGES: tuple[tuple[str, str, Callable[[GpuStats], float | None]], ...] = (
    ("gpu_utilisation_ratio", "GPU utilisation", lambda gpu: gpu.utilisation),
    ("gpu_temperature_celsius", "GPU temperature", lambda gpu: gpu.temperature),
    ("gpu_power_watts", "GPU power draw", lambda gpu: gpu.power),
)


class ShardQueue(Protocol):
    """The part of the scheduler's queue that metrics need."""

    def depth_by_model(self) -> Mapping[str, int]: ...

    def oldest_by_model(self) -> Mapping[str, float]: ...


class FleetCollector(Collector):
    """Collects the gauges. `InstanceRows.refresh_gpu_stats` must run before."""

    def __init__(
        self,
        queue: ShardQueue,
        unfinished_shards: Callable[[], Iterable[ActiveShard]],
        instance_rows: InstanceRows,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self._queue = queue
        self._unfinished_shards = unfinished_shards
        self._instance_rows = instance_rows
        self._monotonic = monotonic

    def collect(self) -> Iterator[Metric]:
        """Yield all gauges (called by the Prometheus client)."""
        yield from self._collect_queue_metrics()
        yield from collect_job_metrics(self._unfinished_shards())
        yield from collect_instance_metrics(list(self._instance_rows.iter_rows()))

    def _collect_queue_metrics(self) -> Iterator[Metric]:
        now = self._monotonic()
        depths = _make_gauge("shards_waiting", "Shards waiting for an instance", "model")
        for model, count in self._queue.depth_by_model().items():
            depths.add_metric([model], count)
        oldest = _make_gauge("oldest_wait_seconds", "Waiting time of the oldest waiting shard", "model")
        for model, since in self._queue.oldest_by_model().items():
            oldest.add_metric([model], now - since)
        yield from (depths, oldest)


def collect_job_metrics(unfinished_shards: Iterable[ActiveShard]) -> Iterator[Metric]:
    """Yield the number of unfinished jobs and the amount held for them."""
    started: dict[str, bool] = {}
    held: dict[str, int] = {}
    for active in unfinished_shards:
        started[active.job.id] = started.get(active.job.id, False) or active.attempt is not None
        held[active.job.id] = active.job.price
    count = _make_gauge("jobs_unfinished", "Unfinished jobs", "status")
    count.add_metric([JobStatus.QUEUED.value], len(started) - sum(started.values()))
    count.add_metric([JobStatus.RUNNING.value], sum(started.values()))
    yield count
    yield GaugeMetricFamily(
        "pixelfactory_held_usd", "Amount held for unfinished jobs", value=to_usd(sum(held.values()))
    )


def collect_instance_metrics(rows: Sequence[InstanceRow]) -> Iterator[Metric]:
    """Yield the metrics of all instances."""
    about = InfoMetricFamily(
        "pixelfactory_instance", "Device, version and profile of the instance", labels=["instance_id"]
    )
    states = _make_gauge(
        "instance_state", "1 for the current state of the instance, 0 for others", "instance_id", "state"
    )
    restarts = CounterMetricFamily(
        "pixelfactory_instance_restarts", "Restarts of its process", labels=["instance_id"]
    )
    errors = CounterMetricFamily(
        "pixelfactory_instance_supervision_errors",
        "Errors of its supervision, such as a lack of descriptors",
        labels=["instance_id"],
    )
    for row in rows:
        info = row.info
        errors.add_metric([info.id], info.supervision_errors)
        named = {"device": info.device, "version": info.version or "", "profile": info.profile or ""}
        about.add_metric([info.id], named)
        restarts.add_metric([info.id], info.restarts)
        for state in InstanceState:
            states.add_metric([info.id, state.value], float(info.state is state))
    yield from (about, states, restarts, errors)
    for name, meaning, value in INSTANCE_GAUGES:
        yield _gauge_by_instance(name, meaning, {row.info.id: value(row) for row in rows})
    for name, meaning, reading in GPU_GAUGES:
        yield _gauge_by_instance(
            name, meaning, {row.info.id: reading(row.gpu_stats) for row in rows if row.gpu_stats}
        )


def _gauge_by_instance(
    name: str, documentation: str, values: Mapping[str, float | None]
) -> GaugeMetricFamily:
    gauge = _make_gauge(name, documentation, "instance_id")
    for instance_id, value in values.items():
        if value is not None:
            gauge.add_metric([instance_id], value)
    return gauge


def _make_gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"pixelfactory_{name}", documentation, labels=labels)

"""The state of queue and fleet, looked at when Prometheus asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from comfy_instances.fleet.protocol import InstanceState
from comfy_instances.hardware.gpus import GpuStats
from orchestrator.execution.dispatcher import ActiveShard, Dispatcher
from orchestrator.jobs import JobStatus
from orchestrator.web.admin.instance_rows import InstanceRow, InstanceRows
from pricing.money import to_usd

RowValue = Callable[[InstanceRow], float | None]

#: By instance; those that are not known are left out.
INSTANCE_GAUGES: tuple[tuple[str, str, RowValue], ...] = (
    ("instance_busy_ratio", "Share of the last minute with a prompt under way", lambda row: row.busy_ratio),
    (
        "instance_shards",
        "Shards it has been given, running and waiting",
        lambda row: len(row.assigned_shards),
    ),
    ("instance_models_held", "Models in its memory", lambda row: len(row.loaded_models)),
    ("instance_failures", "Bad ends of its process in a row", lambda row: row.info.failures),
    ("instance_memory_bytes", "Resident memory of its process", lambda row: row.info.memory),
    ("instance_vram_total_bytes", "Memory of its GPU", lambda row: row.info.vram_total),
    ("instance_vram_used_bytes", "Memory of its GPU in use", lambda row: row.vram_used),
)
#: By instance, as the driver says.
GPU_GAUGES: tuple[tuple[str, str, Callable[[GpuStats], float | None]], ...] = (
    ("gpu_utilisation_ratio", "Share of time with a kernel on its GPU", lambda gpu: gpu.utilisation),
    ("gpu_temperature_celsius", "Temperature of its GPU", lambda gpu: gpu.temperature),
    ("gpu_power_watts", "Power that its GPU draws", lambda gpu: gpu.power),
)


class FleetCollector(Collector):
    """Gauges of the moment. `instance_rows` must have been refreshed."""

    def __init__(
        self, dispatcher: Dispatcher, instance_rows: InstanceRows, monotonic: Callable[[], float] = monotonic
    ) -> None:
        self._dispatcher = dispatcher
        self._instance_rows = instance_rows
        self._monotonic = monotonic

    def collect(self) -> Iterator[Metric]:
        yield from self._collect_queue_metrics()
        yield from collect_job_metrics(self._dispatcher.unfinished_shards())
        yield from collect_instance_metrics(list(self._instance_rows.iter_rows()))

    def _collect_queue_metrics(self) -> Iterator[Metric]:
        queue, now = self._dispatcher.scheduler.queue, self._monotonic()
        depths = _make_gauge("shards_waiting", "Shards that wait for an instance", "model")
        for model, count in queue.depth_by_model().items():
            depths.add_metric([model], count)
        oldest = _make_gauge("oldest_wait_seconds", "Age of the shard that waits longest", "model")
        for model, since in queue.oldest_by_model().items():
            oldest.add_metric([model], now - since)
        yield from (depths, oldest)


def collect_job_metrics(unfinished_shards: Iterable[ActiveShard]) -> Iterator[Metric]:
    """Jobs that are not finished, and what is held for them."""
    begun: dict[str, bool] = {}
    held: dict[str, int] = {}
    for active in unfinished_shards:
        begun[active.job.id] = begun.get(active.job.id, False) or active.attempt is not None
        held[active.job.id] = active.job.price
    count = _make_gauge("jobs_unfinished", "Jobs on their way", "status")
    count.add_metric([JobStatus.QUEUED.value], len(begun) - sum(begun.values()))
    count.add_metric([JobStatus.RUNNING.value], sum(begun.values()))
    yield count
    yield GaugeMetricFamily(
        "pixelfactory_held_usd", "Money held for unfinished jobs", value=to_usd(sum(held.values()))
    )


def collect_instance_metrics(rows: Sequence[InstanceRow]) -> Iterator[Metric]:
    about = InfoMetricFamily("pixelfactory_instance", "What the instance is", labels=["instance_id"])
    states = _make_gauge("instance_state", "1 for the state that the instance is in", "instance_id", "state")
    restarts = CounterMetricFamily(
        "pixelfactory_instance_restarts", "Starts of its process beyond the first", labels=["instance_id"]
    )
    for row in rows:
        info = row.info
        named = {"device": info.device, "version": info.version or "", "profile": info.profile or ""}
        about.add_metric([info.id], named)
        restarts.add_metric([info.id], info.restarts)
        for state in InstanceState:
            states.add_metric([info.id, state.value], float(info.state is state))
    yield from (about, states, restarts)
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

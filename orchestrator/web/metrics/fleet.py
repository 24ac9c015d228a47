"""The state of queue and fleet, looked at when Prometheus asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from comfy_instances.fleet.protocol import InstanceState
from comfy_instances.hardware.gpus import GpuStats
from orchestrator.execution.dispatcher import Active, Dispatcher
from orchestrator.jobs import JobStatus
from orchestrator.web.admin.instance_rows import InstanceRows, Row
from pricing.money import to_usd

Value = Callable[[Row], float | None]

#: By instance; those that are not known are left out.
GAUGES: tuple[tuple[str, str, Value], ...] = (
    ("instance_busy_ratio", "Share of the last minute with a prompt under way", lambda row: row.busy),
    ("instance_shards", "Shards it has been given, running and waiting", lambda row: len(row.assigned)),
    ("instance_models_held", "Models in its memory", lambda row: len(row.held)),
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
    """Gauges of the moment. `rows` must have been refreshed."""

    def __init__(
        self, dispatcher: Dispatcher, rows: InstanceRows, monotonic: Callable[[], float] = monotonic
    ) -> None:
        self._dispatcher = dispatcher
        self._rows = rows
        self._monotonic = monotonic

    def collect(self) -> Iterator[Metric]:
        yield from self._queue()
        yield from jobs(self._dispatcher.unfinished())
        yield from instances(list(self._rows.all()))

    def _queue(self) -> Iterator[Metric]:
        queue, now = self._dispatcher.scheduler.queue, self._monotonic()
        depths = _gauge("shards_waiting", "Shards that wait for an instance", "model")
        for model, count in queue.depths().items():
            depths.add_metric([model], count)
        oldest = _gauge("oldest_wait_seconds", "Age of the shard that waits longest", "model")
        for model, since in queue.oldest().items():
            oldest.add_metric([model], now - since)
        yield from (depths, oldest)


def jobs(unfinished: Iterable[Active]) -> Iterator[Metric]:
    """Jobs that are not finished, and what is held for them."""
    begun: dict[str, bool] = {}
    held: dict[str, int] = {}
    for active in unfinished:
        begun[active.job.id] = begun.get(active.job.id, False) or active.attempt is not None
        held[active.job.id] = active.job.price
    count = _gauge("jobs_unfinished", "Jobs on their way", "status")
    count.add_metric([JobStatus.QUEUED.value], len(begun) - sum(begun.values()))
    count.add_metric([JobStatus.RUNNING.value], sum(begun.values()))
    yield count
    yield GaugeMetricFamily(
        "pixelfactory_held_usd", "Money held for unfinished jobs", value=to_usd(sum(held.values()))
    )


def instances(rows: Sequence[Row]) -> Iterator[Metric]:
    about = InfoMetricFamily("pixelfactory_instance", "What the instance is", labels=["instance_id"])
    states = _gauge("instance_state", "1 for the state that the instance is in", "instance_id", "state")
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
    for name, meaning, value in GAUGES:
        yield _by_instance(name, meaning, {row.info.id: value(row) for row in rows})
    for name, meaning, reading in GPU_GAUGES:
        yield _by_instance(name, meaning, {row.info.id: reading(row.gpu) for row in rows if row.gpu})


def _by_instance(name: str, meaning: str, values: Mapping[str, float | None]) -> GaugeMetricFamily:
    gauge = _gauge(name, meaning, "instance_id")
    for instance_id, value in values.items():
        if value is not None:
            gauge.add_metric([instance_id], value)
    return gauge


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"pixelfactory_{name}", meaning, labels=labels)

"""What Prometheus reads: requests and work as they come, queue and fleet when it asks.

`scripts/deploy/README.md` lists every name.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from orchestrator.service import GenerationService
from orchestrator.web.admin.instance_rows import GpuStatsCache, InstanceRows
from orchestrator.web.metrics.fleet import FleetCollector
from orchestrator.web.metrics.http import HttpMetrics
from orchestrator.web.metrics.jobs import JobMetrics


class Metrics:
    """All metrics of one service, listening from now on."""

    def __init__(self, service: GenerationService) -> None:
        dispatcher = service.dispatcher
        self._registry = CollectorRegistry()
        self.http = HttpMetrics(self._registry)
        work = JobMetrics(self._registry, dispatcher.scheduler, service.clock)
        service.events.add_observer(work.observe_event)
        dispatcher.fleet.subscribe(work.on_instance_changed)
        self.instance_rows = InstanceRows(dispatcher, work.busy_ratio, GpuStatsCache())
        self._registry.register(FleetCollector(dispatcher, self.instance_rows))
        ProcessCollector(registry=self._registry)

    async def export(self) -> bytes:
        """In Prometheus' text format."""
        await self.instance_rows.refresh_gpu_stats()
        return generate_latest(self._registry)


__all__ = ["HttpMetrics", "Metrics"]

"""Prometheus metrics: events are counted as they happen, queue and fleet are read at each scrape.

`scripts/deploy/README.md` lists all metrics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest

from comfy_instances.fleet.protocol import Fleet
from orchestrator.execution.active_shards import ActiveShard
from orchestrator.execution.instances.fleet_history import FleetHistory
from orchestrator.execution.scheduler import Scheduler
from orchestrator.jobs.events import EventHub
from orchestrator.web.instance_status import GpuStatsCache, InstanceRows
from orchestrator.web.metrics.delivery import DeliveryMetrics
from orchestrator.web.metrics.fleet import FleetCollector
from orchestrator.web.metrics.http import HttpMetrics
from orchestrator.web.metrics.jobs import JobMetrics
from orchestrator.web.metrics.operations import OperationsMetrics
from orchestrator.web.metrics.recovery import RecoveryMetrics
from orchestrator.web.metrics.server import ServerMetrics
from orchestrator.web.metrics.warming import WarmingMetrics
from orchestrator.web.protocols import Clock


class ShardLists(Protocol):
    """The part of the dispatcher that lists unfinished shards."""

    def assigned_shards(self, instance_id: str) -> list[ActiveShard]:
        """Return the shards assigned to an instance, the running one first."""
        ...

    def unfinished_shards(self) -> Collection[ActiveShard]:
        """Return all waiting and running shards."""
        ...


class Metrics:
    """All metrics of a service. It subscribes to events and fleet when it is created."""

    def __init__(
        self, fleet: Fleet, scheduler: Scheduler, shards: ShardLists, events: EventHub, clock: Clock
    ) -> None:
        self._registry = CollectorRegistry()
        self.http = HttpMetrics(self._registry)
        self.server = ServerMetrics(self._registry)
        jobs = JobMetrics(self._registry, scheduler, clock)
        events.add_observer(jobs.observe_event)
        events.add_observer(RecoveryMetrics(self._registry).observe_event)
        events.add_observer(WarmingMetrics(self._registry).observe_event)
        delivery = DeliveryMetrics(self._registry)
        events.add_observer(delivery.observe_event)
        fleet.subscribe(jobs.on_instance_changed)
        self.history = FleetHistory(clock, lambda id: [one.shard.id for one in shards.assigned_shards(id)])
        events.add_observer(self.history.observe_event)
        for info in fleet.instances():
            self.history.on_instance_changed(info)
        fleet.subscribe(self.history.on_instance_changed)
        self.instance_rows = InstanceRows(
            fleet,
            scheduler.instances,
            shards.assigned_shards,
            jobs.busy_ratio,
            GpuStatsCache(),
            delivery_way=delivery.way_of,
            history=self.history.describe,
        )
        self._registry.register(FleetCollector(scheduler.queue, shards.unfinished_shards, self.instance_rows))
        self.operations = OperationsMetrics()
        self._registry.register(self.operations)
        self._tasks = Gauge("pixelfactory_tasks", "Tasks of the event loop", registry=self._registry)
        self._certificate_end = Gauge(
            "pixelfactory_signing_certificate_end_timestamp_seconds",
            "End of the certificate by which results are signed; 0 without one",
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)

    def show_certificate(self, expires_at: datetime) -> None:
        """Export when the certificate ends by which results are signed."""
        self._certificate_end.set(expires_at.timestamp())

    async def export(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        await self.instance_rows.refresh_gpu_stats()
        self._tasks.set(len(asyncio.all_tasks()))
        return generate_latest(self._registry)


__all__ = ["HttpMetrics", "Metrics", "ServerMetrics"]

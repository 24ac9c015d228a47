"""Counters of loads ahead of requests. An observer of the event hub."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from orchestrator.jobs.events import ExecutionEvent, ModelWarmed, WeightsRead


class WarmingMetrics:
    """Runs that load a model ahead of requests, and weights that are read ahead of a load."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            "pixelfactory_warm_runs",
            "Runs that load a model ahead of requests",
            ["model", "result"],
            registry=registry,
        )
        self._seconds = Counter(
            "pixelfactory_warm_run_seconds",
            "Time that instances spent on runs ahead of requests",
            ["model"],
            registry=registry,
        )
        self._read = Counter(
            "pixelfactory_weights_read_ahead_bytes",
            "Bytes of weight files read before an instance loads them",
            registry=registry,
        )

    def observe_event(self, event: ExecutionEvent) -> None:
        """Count an event."""
        match event:
            case ModelWarmed(model=model, result=result, seconds=seconds):
                self._runs.labels(model, result).inc()
                self._seconds.labels(model).inc(seconds)
            case WeightsRead(bytes=count):
                self._read.inc(count)
            case _:
                pass

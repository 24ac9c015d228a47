"""Counters of results that instances deliver themselves, and the way of each instance."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from orchestrator.jobs.events import DeliveryWayChosen, ExecutionEvent, OutputDelivered

#: What takes time, in order; `blocked` is the time that the graph's thread could not use.
STEPS = ("blocked", "queued", "encode", "upload")
#: `service`: results pass through this service, as for instances without the node pack; `degraded`: they do
#: so although the instance has it, and an operator can change that.
WAYS = ("direct", "service", "degraded")


class DeliveryMetrics:
    """An observer of the event hub. Also keeps the way of each instance, for the admin API."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ways: dict[str, DeliveryWayChosen] = {}
        self._outputs = Counter(
            "pixelfactory_outputs_delivered",
            "Results encoded by the node pack, which stored them or which the service fetched",
            ["instance_id", "way"],
            registry=registry,
        )
        self._seconds = Counter(
            "pixelfactory_delivery_seconds",
            "Seconds of delivered results by step; blocked is time of the graph's thread",
            ["instance_id", "step"],
            registry=registry,
        )
        self._way = Gauge(
            "pixelfactory_instance_delivery",
            "1 for the way in which results leave the instance, 0 for others",
            ["instance_id", "way"],
            registry=registry,
        )

    def observe_event(self, event: ExecutionEvent) -> None:
        """Count a delivered result, or note the way of an instance."""
        match event:
            case OutputDelivered(instance_id=instance_id):
                self._outputs.labels(instance_id, "stored" if event.is_stored else "fetched").inc()
                for step in STEPS:
                    self._seconds.labels(instance_id, step).inc(max(0.0, event.timings.get(step, 0.0)))
            case DeliveryWayChosen(instance_id=instance_id):
                self._ways[instance_id] = event
                for way in WAYS:
                    self._way.labels(instance_id, way).set(way == _name_of(event))

    def way_of(self, instance_id: str) -> tuple[str | None, str | None]:
        """Return the way of an instance and the reason for it; None before its first prompt."""
        event = self._ways.get(instance_id)
        return (None, None) if event is None else (_name_of(event), event.reason or None)


def _name_of(event: DeliveryWayChosen) -> str:
    if event.is_direct:
        return "direct"
    return "degraded" if event.needs_attention else "service"

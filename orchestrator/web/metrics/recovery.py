"""Counters of what went wrong inside the service and was mended or is tried again."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from orchestrator.jobs.events import (
    ExecutionEvent,
    ObjectDeleted,
    ObjectDeletionFailed,
    ShardQuarantined,
    StateMended,
    TaskFailed,
    WriteRetried,
)
from orchestrator.jobs.objects import DeletionReason


class RecoveryMetrics:
    """Failed tasks, retried writes, mended states and deleted objects. An observer of the event hub."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._task_failures = Counter(
            "pixelfactory_task_failures",
            "Background tasks that ended with an unexpected error",
            ["kind"],
            registry=registry,
        )
        self._quarantined = Counter(
            "pixelfactory_shards_quarantined",
            "Shards that are not run again because instances died",
            registry=registry,
        )
        self._write_retries = Counter(
            "pixelfactory_write_retries",
            "Repeated writes of jobs because the store was unavailable",
            ["operation"],
            registry=registry,
        )
        self._mended = Counter(
            "pixelfactory_mended",
            "Jobs, holds, attempts and prompts that did not belong together and were mended",
            ["kind"],
            registry=registry,
        )
        self._objects_deleted = Counter(
            "pixelfactory_objects_deleted",
            "Objects deleted from the bucket by reason",
            ["reason"],
            registry=registry,
        )
        for reason in DeletionReason:
            self._objects_deleted.labels(reason.value)
        self._object_deletion_failures = Counter(
            "pixelfactory_object_deletion_failures",
            "Failed tries to delete an object; each is repeated",
            registry=registry,
        )

    def observe_event(self, event: ExecutionEvent) -> None:
        """Update the counter that an event concerns."""
        match event:
            case TaskFailed(kind=kind):
                self._task_failures.labels(kind).inc()
            case ShardQuarantined():
                self._quarantined.inc()
            case WriteRetried(operation=operation):
                self._write_retries.labels(operation).inc()
            case StateMended(kind=kind):
                self._mended.labels(kind).inc()
            case ObjectDeleted(reason=reason):
                self._objects_deleted.labels(reason.value).inc()
            case ObjectDeletionFailed():
                self._object_deletion_failures.inc()

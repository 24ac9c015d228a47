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

#: Writes of the job lifecycle that are repeated.
WRITE_OPERATIONS = ("start_attempt", "finish_shard", "end_attempt", "fail_job", "cancel_job")
#: What the reconciler finds.
MENDED_KINDS = (
    "ended_shard",
    "lost_assignment",
    "missing_hold",
    "open_attempt",
    "open_hold",
    "orphan_prompt",
    "shard_without_attempt",
    "unattended_job",
    "unfinished_job",
    "unheard_end",
    "unscheduled_job",
    "unsent_result",
)


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

        # A series that begins with 1 has no increase: those that are known begin with 0.
        self._task_failures.labels("other")
        for operation in WRITE_OPERATIONS:
            self._write_retries.labels(operation)
        for kind in MENDED_KINDS:
            self._mended.labels(kind)

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

"""Counters and histograms of jobs and attempts, updated by events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Histogram

from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from orchestrator.execution.scheduler import Scheduler
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.jobs.events import (
    AttemptFailed,
    ExecutionEvent,
    JobChanged,
    PromptFinished,
    ShardStarted,
)
from orchestrator.web.metrics.utilization import UtilizationTracker
from pricing.money import to_usd

#: In seconds: from an image of a fast model to a long video on a busy fleet.
DURATION_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280)
#: In seconds: from the time between two messages to a stall that operators should inspect.
IDLE_GAP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class JobMetrics:
    """Metrics by model and by instance. An observer of the event hub."""

    def __init__(
        self,
        registry: CollectorRegistry,
        scheduler: Scheduler,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._monotonic = monotonic
        self._utilization_trackers: dict[str, UtilizationTracker] = {}

        make_counter, make_histogram = partial(_make_counter, registry), partial(_make_histogram, registry)
        self._jobs_finished = make_counter("jobs_finished", "Finished jobs by status", "model", "status")
        self._job_errors = make_counter("job_errors", "Failed jobs by error code", "model", "code")
        self._retries = make_counter("retries", "Retried attempts", "instance_id")
        self._attempt_failures = make_counter(
            "attempt_failures", "Failed attempts by kind of failure", "instance_id", "kind"
        )
        self._gpu_seconds = make_counter("gpu_seconds", "Seconds in which prompts ran", "instance_id")
        self._stored_bytes = make_counter("stored_bytes", "Stored bytes of outputs of finished jobs", "model")
        self._captured_usd = make_counter("captured_usd", "Amount charged for finished jobs", "model")
        self._released_usd = make_counter(
            "released_usd", "Amount released for jobs that failed or were cancelled", "model"
        )
        self._wait_seconds = make_histogram(
            "wait_seconds",
            "Time from the creation of a job to the start of its prompt",
            "model",
            DURATION_BUCKETS,
        )
        self._run_seconds = make_histogram(
            "run_seconds", "Duration of prompts, loading included", "model", DURATION_BUCKETS
        )
        self._load_seconds = make_histogram(
            "load_seconds",
            "Time to load weights, for prompts whose model was not in memory",
            "model",
            DURATION_BUCKETS,
        )
        self._idle_gap_seconds = make_histogram(
            "idle_gap_seconds",
            "Idle time between two prompts while a job was waiting",
            "instance_id",
            IDLE_GAP_BUCKETS,
        )

    def observe_event(self, event: ExecutionEvent) -> None:
        """Update the metrics that an event concerns."""
        match event:
            case ShardStarted():
                self._record_started(event)
            case PromptFinished():
                self._record_succeeded(event)
            case AttemptFailed():
                self._attempt_failures.labels(event.instance_id, event.kind).inc()
                self._utilization_tracker(event.instance_id).shard_failed(event.shard_id, self._monotonic())
            case JobChanged(record=record, final=True):
                self._record_finished(record)

    def on_instance_changed(self, info: InstanceInfo) -> None:
        """Do not count the time in which an instance is not ready as a gap between prompts."""
        if info.state is not InstanceState.READY:
            self._utilization_tracker(info.id).reset_idle()

    def busy_ratio(self, instance_id: str) -> float:
        """Return the share of the last minute in which the instance ran prompts, 0 to 1."""
        return self._utilization_tracker(instance_id).busy_ratio(self._monotonic())

    def _utilization_tracker(self, instance_id: str) -> UtilizationTracker:
        return self._utilization_trackers.setdefault(instance_id, UtilizationTracker(self._monotonic()))

    def _record_started(self, event: ShardStarted) -> None:
        if event.attempt > 1:
            self._retries.labels(event.instance_id).inc()
        self._utilization_tracker(event.instance_id).shard_assigned(event.shard_id, self._monotonic())

    def _record_succeeded(self, event: PromptFinished) -> None:
        model, seconds = event.job.model, event.usage.gpu_seconds
        wait_seconds = max(0.0, (self._clock() - event.job.created_at).total_seconds() - seconds)
        gap = self._utilization_tracker(event.instance_id).shard_succeeded(
            event.shard_id, self._monotonic(), seconds, wait_seconds
        )
        if gap is not None:
            self._idle_gap_seconds.labels(event.instance_id).observe(gap)
        self._wait_seconds.labels(model).observe(wait_seconds)
        self._run_seconds.labels(model).observe(seconds)
        self._gpu_seconds.labels(event.instance_id).inc(seconds)
        if self._was_cold_start(event):
            self._load_seconds.labels(model).observe(event.usage.load_seconds)

    def _was_cold_start(self, event: PromptFinished) -> bool:
        """Return whether the instance had to load the model first, according to the scheduler."""
        instance = self._scheduler.instances.get(event.instance_id)
        return any(
            assignment.load_seconds > 0
            for assignment in (instance.assignments if instance else ())
            if assignment.spec.shard_id == event.shard_id
        )

    def _record_finished(self, record: JobRecord) -> None:
        job = record.job
        self._jobs_finished.labels(job.model, job.status.value).inc()
        if job.error:
            self._job_errors.labels(job.model, job.error.code).inc()
        self._stored_bytes.labels(job.model).inc(sum(output.size for output in record.outputs))
        self._money_counter(job).labels(job.model).inc(to_usd(job.price))

    def _money_counter(self, job: Job) -> Counter:
        return self._captured_usd if job.status is JobStatus.SUCCEEDED else self._released_usd


def _make_counter(registry: CollectorRegistry, name: str, documentation: str, *labels: str) -> Counter:
    return Counter(f"pixelfactory_{name}", documentation, labels, registry=registry)


def _make_histogram(
    registry: CollectorRegistry, name: str, documentation: str, label: str, buckets: tuple[float, ...]
) -> Histogram:
    return Histogram(f"pixelfactory_{name}", documentation, [label], buckets=buckets, registry=registry)

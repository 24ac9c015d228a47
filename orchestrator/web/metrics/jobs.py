"""What became of the work: counted and timed as it happens, from what the event hub tells."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Histogram

from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from orchestrator.execution.scheduler import Scheduler
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.jobs.events import JobChanged, ShardMissed, ShardRan, ShardStarted, WorkEvent
from orchestrator.web.metrics.utilization import BusyClock
from pricing.money import to_usd

#: Seconds: from a picture of a fast model to a long video on a full fleet.
WORK_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280)
#: Seconds: from one message to another, up to a stall that somebody should look at.
GAP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class WorkMetrics:
    """Counters and histograms by model and by instance. An observer of the event hub."""

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
        self._clocks: dict[str, BusyClock] = {}

        def count(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"pixelfactory_{name}", meaning, labels, registry=registry)

        def measure(name: str, meaning: str, label: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"pixelfactory_{name}", meaning, [label], buckets=buckets, registry=registry)

        self._jobs = count("jobs_finished", "Jobs that came to an end", "model", "status")
        self._job_errors = count("job_errors", "Jobs that failed, by the reason", "model", "code")
        self._retries = count("retries", "Attempts of shards after their first", "instance_id")
        self._failures = count("attempt_failures", "Attempts that came to nothing", "instance_id", "kind")
        self._gpu_seconds = count("gpu_seconds", "Time that prompts ran", "instance_id")
        self._stored = count("stored_bytes", "Outputs of finished jobs put into the object store", "model")
        self._captured = count("captured_usd", "Money taken for finished jobs", "model")
        self._released = count("released_usd", "Money given back for jobs that were not done", "model")
        self._wait = measure(
            "wait_seconds", "From the acceptance of a job to the begin of a prompt", "model", WORK_BUCKETS
        )
        self._run = measure(
            "run_seconds", "Prompts from begin to end, loading included", "model", WORK_BUCKETS
        )
        self._load = measure(
            "load_seconds",
            "Loading of weights, in prompts that found their model not in memory",
            "model",
            WORK_BUCKETS,
        )
        self._gap = measure(
            "idle_gap_seconds",
            "Between two prompts of an instance, the later one's job being there already",
            "instance_id",
            GAP_BUCKETS,
        )

    def hear(self, event: WorkEvent) -> None:
        match event:
            case ShardStarted():
                self._started(event)
            case ShardRan():
                self._ran(event)
            case ShardMissed():
                self._failures.labels(event.instance_id, event.kind).inc()
                self._busy_clock(event.instance_id).missed(event.shard_id, self._monotonic())
            case JobChanged(record=record, final=True):
                self._finished(record)

    def instance_changed(self, info: InstanceInfo) -> None:
        if info.state is not InstanceState.READY:
            self._busy_clock(info.id).away()

    def busy(self, instance_id: str) -> float:
        """Share of the last minute in which the instance ran a prompt, 0 to 1."""
        return self._busy_clock(instance_id).busy(self._monotonic())

    def _busy_clock(self, instance_id: str) -> BusyClock:
        return self._clocks.setdefault(instance_id, BusyClock(self._monotonic()))

    def _started(self, event: ShardStarted) -> None:
        if event.attempt > 1:
            self._retries.labels(event.instance_id).inc()
        self._busy_clock(event.instance_id).given(event.shard_id, self._monotonic())

    def _ran(self, event: ShardRan) -> None:
        model, seconds = event.job.model, event.usage.gpu_seconds
        waited = max(0.0, (self._clock() - event.job.created_at).total_seconds() - seconds)
        gap = self._busy_clock(event.instance_id).ran(event.shard_id, self._monotonic(), seconds, waited)
        if gap is not None:
            self._gap.labels(event.instance_id).observe(gap)
        self._wait.labels(model).observe(waited)
        self._run.labels(model).observe(seconds)
        self._gpu_seconds.labels(event.instance_id).inc(seconds)
        if self._was_cold(event):
            self._load.labels(model).observe(event.usage.load_seconds)

    def _was_cold(self, event: ShardRan) -> bool:
        """Whether the scheduler sent the shard to an instance without its model in memory."""
        card = self._scheduler.cards.get(event.instance_id)
        return any(
            assignment.load_seconds > 0
            for assignment in (card.assigned if card else ())
            if assignment.work.shard_id == event.shard_id
        )

    def _finished(self, record: JobRecord) -> None:
        job = record.job
        self._jobs.labels(job.model, job.status.value).inc()
        if job.error:
            self._job_errors.labels(job.model, job.error.code).inc()
        self._stored.labels(job.model).inc(sum(output.size for output in record.outputs))
        self._money_of(job).labels(job.model).inc(to_usd(job.price))

    def _money_of(self, job: Job) -> Counter:
        return self._captured if job.status is JobStatus.SUCCEEDED else self._released

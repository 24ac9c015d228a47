"""Updates of a job come in the order in which they happened, also those during the look into the store."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.execution.scheduler.wait_estimator import WaitEstimate
from orchestrator.jobs import Job, JobRecord, JobStatus, Shard, ShardStatus
from orchestrator.jobs.events import EventHub, JobChanged, JobEvent, ShardProgress
from orchestrator.store import Page
from orchestrator.web.dialects.comfy.native_websocket import NodeSubscription
from orchestrator.web.jobs.job_updates import JobUpdates

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def record(status: JobStatus = JobStatus.RUNNING) -> JobRecord:
    job = Job(
        id="j", account_id="a", key_id="k", model="m", params={}, price=1, created_at=NOW, status=status
    )
    return JobRecord(
        job=job, shards=(Shard(id="j-0", job_id="j", index=0, params={}, status=ShardStatus.RUNNING),)
    )


def begins(node: str) -> ShardProgress:
    return ShardProgress(index=0, node_id=node, value=0, maximum=1, fraction=0.0)


class BusyStore:
    """Reads a job that goes on meanwhile, and later to its end."""

    def __init__(self, events: EventHub, meanwhile: list[JobEvent], later: list[JobEvent]) -> None:
        self._events, self._meanwhile = events, meanwhile
        self._later = [*later, JobChanged(record=record(JobStatus.SUCCEEDED), final=True)]

    async def get_job(self, account_id: str, job_id: str) -> JobRecord:
        self._publish(job_id, self._meanwhile)
        return record()

    def estimate_job_wait(self, job_id: str, now: float) -> WaitEstimate | None:
        self._publish(job_id, self._later)
        return None

    def _publish(self, job_id: str, events: list[JobEvent]) -> None:
        while events:
            self._events.publish(job_id, events.pop(0))

    async def list_jobs(self, account_id: str, **_: object) -> Page[JobRecord]:
        raise AssertionError("asked for a list")

    async def list_video_jobs(self, account_id: str, **_: object) -> Page[JobRecord]:
        raise AssertionError("asked for a list")


async def nodes_of(events: EventHub, store: BusyStore) -> list[str]:
    updates = JobUpdates(jobs=store, events=events, wait_estimates=store, clock=lambda: NOW)
    seen = [update async for update in updates.stream("a", "j", NodeSubscription())]
    return [update.node_id for update in seen if isinstance(update, ShardProgress)]


async def test_nodes_that_begin_during_the_look_into_the_store_come_in_order_and_once() -> None:
    events = EventHub()
    events.publish("j", begins("1"))
    store = BusyStore(events, meanwhile=[begins("2"), begins("3")], later=[begins("4")])
    assert await nodes_of(events, store) == ["2", "3", "4"]


async def test_a_client_that_comes_late_gets_the_present_node_first() -> None:
    events = EventHub()
    events.publish("j", begins("1"))
    store = BusyStore(events, meanwhile=[], later=[begins("2")])
    assert await nodes_of(events, store) == ["1", "2"]

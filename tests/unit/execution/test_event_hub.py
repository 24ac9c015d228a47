"""The event hub keeps the latest events of running jobs for late subscribers, and no others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.jobs.events import (
    MAX_ENDED_JOBS,
    MAX_EXPECTED_ENDS,
    MAX_TRACKED_JOBS,
    EventHub,
    JobChanged,
    ShardPreview,
    ShardProgress,
    ShardStarted,
    Subscription,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def progress(index: int, fraction: float) -> ShardProgress:
    return ShardProgress(index=index, node_id="3", value=fraction * 20, maximum=20, fraction=fraction)


def changed(status: JobStatus) -> JobChanged:
    job = Job(
        id="j", account_id="a", key_id="k", model="m", params={}, price=1, created_at=NOW, status=status
    )
    return JobChanged(record=JobRecord(job=job, shards=()))


def test_keeps_the_latest_event_of_each_kind_and_shard() -> None:
    hub = EventHub()
    started = ShardStarted(index=0, shard_id="j-0", instance_id="g0", attempt=1)
    preview = ShardPreview(index=0, content_type="image/jpeg", data=b"x")
    for event in (started, progress(0, 0.1), preview, progress(1, 0.2), progress(0, 0.6)):
        hub.publish("j", event)
    assert hub.latest_events("j") == [started, progress(0, 0.6), preview, progress(1, 0.2)]
    assert hub.latest_events("other") == []


def test_averages_the_progress_of_the_shards() -> None:
    hub = EventHub()
    assert hub.job_progress("j", 4) == 0
    hub.publish("j", progress(0, 0.5))
    hub.publish("j", progress(1, 0.3))
    assert hub.job_progress("j", 4) == pytest.approx(0.2)


def test_drops_the_events_of_a_finished_job() -> None:
    hub = EventHub()
    hub.publish("j", progress(0, 0.5))
    hub.publish("j", changed(JobStatus.RUNNING))
    assert hub.latest_events("j")
    hub.publish("j", changed(JobStatus.CANCELLED))
    assert hub.latest_events("j") == []


def test_the_progress_of_a_job_that_has_just_ended_does_not_fall() -> None:
    """A request that has read the job as running may ask after its end."""
    hub = EventHub()
    hub.publish("j", progress(0, 0.5))
    hub.publish("j", progress(1, 0.7))
    hub.publish("j", changed(JobStatus.SUCCEEDED))
    assert hub.job_progress("j", 2) == pytest.approx(0.6)
    assert hub.latest_progress("j") == [progress(0, 0.5), progress(1, 0.7)]
    for number in range(MAX_ENDED_JOBS):
        hub.publish(f"j{number}", progress(0, 0.1))
        hub.publish(f"j{number}", changed(JobStatus.SUCCEEDED))
    assert hub.latest_progress("j") == []
    assert hub.latest_progress("j0")


def test_limits_the_number_of_jobs_with_kept_events() -> None:
    hub = EventHub()
    for number in range(MAX_TRACKED_JOBS + 10):
        hub.publish(f"j{number}", progress(0, 0.5))
    assert hub.latest_events("j9") == []
    assert hub.latest_events("j10")


def test_names_the_jobs_whose_subscribers_must_be_told_of_their_end() -> None:
    class FindsEnd(Subscription):
        finds_end = True

    hub = EventHub()
    with hub.subscribe("j", FindsEnd()):
        assert hub.subscribed_job_ids() == set()
        with hub.subscribe("j"):
            assert hub.subscribed_job_ids() == {"j"}
        assert hub.subscribed_job_ids() == set()


def test_keeps_the_end_of_a_job_for_the_request_that_will_wait() -> None:
    hub, end = EventHub(), changed(JobStatus.SUCCEEDED)
    hub.publish("other", end)
    assert not hub.expects_end("other")
    hub.expect_end("j")
    hub.publish("j", changed(JobStatus.RUNNING))
    assert hub.expects_end("j")
    hub.publish("j", end)
    assert hub.take_end("j") is end.record
    assert not hub.expects_end("j"), "others ask the store"
    hub.expect_end("j")
    assert hub.take_end("j") is None, "it has not ended"


def test_keeps_few_ends() -> None:
    hub = EventHub()
    for number in range(MAX_EXPECTED_ENDS + 1):
        hub.expect_end(f"j{number}")
    assert [number for number in range(MAX_EXPECTED_ENDS + 1) if not hub.expects_end(f"j{number}")] == [0]

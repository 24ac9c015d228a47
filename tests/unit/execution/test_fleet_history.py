"""What an instance did in each minute of the last hour, and what the fleet earned."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from orchestrator.execution.instances.fleet_history import MINUTES, FleetHistory
from orchestrator.jobs import FailureKind, Job, JobRecord, JobStatus, Usage
from orchestrator.jobs.events import AttemptFailed, JobChanged, PromptFinished, ShardStarted

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Fleet:
    """A history with a clock of its own."""

    now: datetime = START
    shards: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.history = FleetHistory(lambda: self.now, lambda _: self.shards)

    def after(self, minutes: float) -> Fleet:
        self.now += timedelta(minutes=minutes)
        return self

    def becomes(self, state: InstanceState) -> None:
        info = InstanceInfo(
            id="gpu-0", url="http://gpu-0", state=state, simulated=True, device="simulated", adopted=False
        )
        self.history.on_instance_changed(info)

    def starts(self, shard: str) -> None:
        self.shards.append(shard)
        self.history.observe_event(ShardStarted(index=0, shard_id=shard, instance_id="gpu-0", attempt=1))

    def finishes(self, shard: str, seconds: float, load: float = 0.0) -> None:
        usage = Usage(gpu_seconds=seconds, load_seconds=load)
        event = PromptFinished(job=job(), shard_id=shard, instance_id="gpu-0", usage=usage)
        self.history.observe_event(event)
        self.shards.remove(shard)

    @property
    def strip(self) -> str:
        return self.history.describe("gpu-0")


def job(price: int = 0, status: JobStatus = JobStatus.QUEUED) -> Job:
    return Job(
        id="job",
        account_id="acct",
        key_id="key",
        model="sdxl-1.0",
        params={},
        price=price,
        created_at=START,
        status=status,
    )


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet()
    fleet.becomes(InstanceState.READY)
    return fleet


def test_knows_nothing_of_an_instance_that_it_has_not_seen() -> None:
    assert Fleet().strip == "." * MINUTES


def test_shows_the_busy_share_of_each_minute(fleet: Fleet) -> None:
    fleet.after(2).starts("a")
    fleet.after(1.5).finishes("a", 90)
    fleet.after(1.4)
    assert fleet.strip == "." * (MINUTES - 5) + "00950"


def test_counts_time_under_two_shards_once(fleet: Fleet) -> None:
    fleet.starts("a")
    fleet.starts("b")
    fleet.after(0.5).finishes("a", 30)
    fleet.after(0.25).finishes("b", 15)
    fleet.after(0.24)
    assert fleet.strip[-1] == "7"


def test_shows_loading_once_the_run_has_told_of_it(fleet: Fleet) -> None:
    fleet.starts("a")
    fleet.after(1.99).finishes("a", 119, load=60)
    assert fleet.strip[-2:] == "l9"


def test_shows_when_it_was_down_and_drained(fleet: Fleet) -> None:
    fleet.after(1).becomes(InstanceState.DOWN)
    fleet.after(2).becomes(InstanceState.STARTING)
    fleet.after(1).becomes(InstanceState.DRAINING)
    fleet.after(1.9)
    assert fleet.strip[-6:] == "0dddrr"


def test_is_busy_until_its_last_shard_has_ended_although_it_drains(fleet: Fleet) -> None:
    fleet.starts("a")
    fleet.becomes(InstanceState.DRAINING)
    fleet.after(1).finishes("a", 60)
    fleet.after(0.9)
    assert fleet.strip[-2:] == "9r"


def test_forgets_shards_that_the_scheduler_no_longer_knows(fleet: Fleet) -> None:
    fleet.starts("lost")
    fleet.shards.remove("lost")
    fleet.after(1).starts("a")
    fleet.after(1).finishes("a", 60)
    fleet.after(0.9)
    assert fleet.strip[-3:] == "990"


def test_shows_no_more_than_the_last_hour(fleet: Fleet) -> None:
    fleet.starts("a")
    fleet.after(30).finishes("a", 1800)
    fleet.after(600.5)
    assert fleet.strip == "0" * MINUTES


def test_counts_failures_of_the_last_hour_without_cancelled_ones(fleet: Fleet) -> None:
    for kind in (FailureKind.STALLED, FailureKind.CANCELLED, FailureKind.OUT_OF_MEMORY):
        fleet.after(1).history.observe_event(AttemptFailed(shard_id="a", instance_id="gpu-0", kind=kind))
    assert fleet.history.count_failures() == 2
    fleet.after(58.5)
    assert fleet.history.count_failures() == 1


def test_earns_by_hour_in_which_an_instance_was_up(fleet: Fleet) -> None:
    assert fleet.history.usd_per_gpu_hour() is None
    fleet.after(30).becomes(InstanceState.DOWN)
    for status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
        record = JobRecord(job=job(500_000, status), shards=())
        fleet.history.observe_event(JobChanged(record=record, final=True))
    fleet.after(20)
    assert fleet.history.usd_per_gpu_hour() == pytest.approx(1.0)
    fleet.after(41)
    assert fleet.history.usd_per_gpu_hour() is None

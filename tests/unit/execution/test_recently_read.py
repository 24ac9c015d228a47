"""Which jobs callers have asked about lately."""

from __future__ import annotations

from orchestrator.execution.live.recently_read import MAX_JOBS, READ_SECONDS, RecentlyRead


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_job_counts_for_a_while_after_its_last_read() -> None:
    clock = Clock()
    read = RecentlyRead(clock)
    read.note("one")
    read.note("two")
    clock.now = READ_SECONDS
    read.note("one")
    assert read.job_ids() == {"one", "two"}
    clock.now = READ_SECONDS + 1
    assert read.job_ids() == {"one"}


def test_keeps_a_bounded_number_of_jobs() -> None:
    read = RecentlyRead(Clock())
    for number in range(MAX_JOBS + 5):
        read.note(f"job-{number}")
    assert len(read.job_ids()) == MAX_JOBS
    assert "job-0" not in read.job_ids()

"""Repair of jobs whose status, shards, attempts and money do not belong together. Pure rules.

Each write of the store is one transaction, so that this state should never come about; a repair keeps a bug
or a damaged file from holding a caller's money indefinitely.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.billing import charging
from orchestrator.billing.changes import NO_CHANGES, Changes
from orchestrator.billing.metering import job_usage_row, meter_revenue
from orchestrator.jobs import FailureKind, JobError, JobRecord, JobStatus, Shard, ShardStatus
from pricing.ledger import LedgerEntry

#: Error of a job that cannot be continued.
BROKEN_JOB_ERROR = JobError(
    code=FailureKind.INTERNAL.value, message="The service lost track of the request. It was not charged."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFacts:
    """A job with everything that has to agree with it."""

    record: JobRecord
    hold: LedgerEntry | None
    #: Whether the hold was captured or released.
    is_settled: bool
    #: Ids of the shards that have an attempt without an end.
    attempted_shards: frozenset[str]


def find_defect(facts: JobFacts) -> str | None:
    """Return what is wrong with a job, as a word for metrics and logs; None if nothing is."""
    record = facts.record
    if record.job.is_finished:
        return None if facts.hold is None or facts.is_settled else "open_hold"
    statuses = [shard.status for shard in record.shards]
    if record.job.price and (facts.hold is None or facts.is_settled):
        return "missing_hold"
    if ShardStatus.FAILED in statuses or set(statuses) == {ShardStatus.CANCELLED}:
        return "ended_shard"
    if set(statuses) <= charging.ENDED_WELL:
        return "unfinished_job"
    if _unattended_shards(facts):
        return "shard_without_attempt"
    return None


def mend_job(facts: JobFacts, now: datetime) -> Changes:
    """Return the changes that make a job whole again; none for one that is.

    A finished job settles its hold as its status says. An unfinished one continues if it can; otherwise it
    fails without charge.
    """
    record, hold = facts.record, None if facts.is_settled else facts.hold
    match find_defect(facts):
        case "open_hold":
            return _settle_hold(record, facts.hold, now)
        case "missing_hold" | "ended_shard":
            return charging.release_on_failure(record, JobStatus.FAILED, BROKEN_JOB_ERROR, hold, now)
        case "unfinished_job":
            return charging.capture_on_success(record, hold, now)
        case "shard_without_attempt":
            waiting = ShardStatus.WAITING
            return Changes(shards=tuple(shard.transition_to(waiting) for shard in _unattended_shards(facts)))
    return NO_CHANGES


def _unattended_shards(facts: JobFacts) -> list[Shard]:
    return [
        shard
        for shard in facts.record.shards
        if shard.status is ShardStatus.RUNNING and shard.id not in facts.attempted_shards
    ]


def _settle_hold(record: JobRecord, hold: LedgerEntry | None, now: datetime) -> Changes:
    if record.job.status is not JobStatus.SUCCEEDED:
        return Changes(entries=charging.release_hold(hold, now))
    return Changes(
        entries=charging.capture_hold(hold, record.job.price, now),
        metered=tuple(meter_revenue(record, now.date())),
        usage=(job_usage_row(record, now.date()),),
    )

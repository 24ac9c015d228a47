"""The charging rules as pure functions: hold, capture, release, refund, spend caps and budget alerts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from orchestrator.billing import charging, deposits
from orchestrator.billing.alerts import BudgetStatus, with_budget_alerts
from orchestrator.billing.changes import NO_CHANGES, Changes
from orchestrator.billing.ledger_rules import book_once
from orchestrator.billing.spend_caps import check_spend_caps
from orchestrator.billing.values import ApiKeyLimits
from orchestrator.errors import Conflict, InsufficientBalance, InvalidRequest
from orchestrator.jobs import (
    Job,
    JobError,
    JobRecord,
    JobStatus,
    Output,
    Shard,
    ShardStatus,
    Usage,
    create_shards,
)
from orchestrator.jobs import attempt_transitions as transitions
from pricing import ledger
from pricing.alerts import Alert, AlertMetric
from pricing.ledger import Balance, EntryKind

NOW = datetime(2026, 3, 17, 12, tzinfo=UTC)
IMAGE = Output(key="k", content_type="image/png", size=9, sha256="ab" * 32)
JOB = Job(
    id="job",
    account_id="acct",
    key_id="key",
    model="sdxl-1.0",
    params={"seed": 7},
    price=10_001,
    created_at=NOW,
    webhook_url="https://example.com/",
)
HOLD = ledger.hold_entry("acct", "job", JOB.price, NOW)
(CAPTURE,) = ledger.capture_entries(HOLD, JOB.price, NOW)


def finished(shard: Shard) -> Shard:
    done = transitions.finish_shard(shard, [IMAGE], Usage(gpu_seconds=2, device="NVIDIA H100"))
    assert done is not None
    return done


def record(n: int = 2, done: int = 0, **changes: object) -> JobRecord:
    shards = create_shards(JOB, n)
    return JobRecord(
        job=replace(JOB, **changes),  # type: ignore[arg-type]
        shards=[finished(shard) if shard.index < done else shard for shard in shards],
    )


def test_places_a_hold_of_the_whole_price() -> None:
    changes = charging.place_hold(JOB, create_shards(JOB, 1), Balance(JOB.price, 0))
    assert [(entry.kind, entry.micros) for entry in changes.entries] == [(EntryKind.HOLD, JOB.price)]
    assert changes.new_job is not None


def test_books_no_hold_for_a_free_job() -> None:
    assert charging.place_hold(replace(JOB, price=0), create_shards(JOB, 1), Balance(0, 0)).entries == ()


def test_rejects_a_hold_beyond_the_available_balance() -> None:
    with pytest.raises(InsufficientBalance, match=r"costs \$0\.010001, but only \$0\.01 is available"):
        charging.place_hold(JOB, create_shards(JOB, 1), Balance(10_000, 500_000))


def test_rejects_an_idempotency_key_with_a_different_request() -> None:
    with pytest.raises(Conflict, match="`Idempotency-Key` 'k' was already used"):
        charging.check_idempotent_replay(
            replace(JOB, idempotency_key="k", request_digest="b"), record(request_digest="a")
        )


def test_charges_nothing_before_the_last_shard() -> None:
    assert charging.capture_on_success(record(n=2, done=1), HOLD, NOW) == NO_CHANGES


def test_captures_the_price_and_meters_it_on_success() -> None:
    changes = charging.capture_on_success(record(n=2, done=2), HOLD, NOW)
    assert changes.job is not None
    assert (changes.job.status, changes.job.started_at) == (JobStatus.SUCCEEDED, NOW)
    assert changes.entries == (CAPTURE,)
    assert [row.revenue for row in changes.metered] == [5_001, 5_000]
    assert [(row.day, row.micros, row.outputs) for row in changes.usage] == [(date(2026, 3, 17), 10_001, 2)]
    assert [(one.topic, one.payload) for one in changes.messages] == [("job.succeeded", {"jobId": "job"})]


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_releases_the_hold_of_a_job_that_does_not_succeed(status: JobStatus) -> None:
    error = JobError(code="c", message="m") if status is JobStatus.FAILED else None
    changes = charging.release_on_failure(record(n=2, done=1), status, error, HOLD, NOW)
    assert [(entry.kind, entry.micros) for entry in changes.entries] == [(EntryKind.RELEASE, JOB.price)]
    assert [(shard.index, shard.status) for shard in changes.shards] == [(1, ShardStatus(status.value))]
    assert [one.topic for one in changes.messages] == [f"job.{status}"]


def test_leaves_a_finished_job_as_it_is() -> None:
    done = record(status=JobStatus.SUCCEEDED)
    assert charging.release_on_failure(done, JobStatus.CANCELLED, None, HOLD, NOW) == NO_CHANGES


def test_conflict_names_the_reference_and_not_the_ledger_key() -> None:
    earlier = ledger.credit_entry("acct", 5, "invoice 1", NOW)
    assert book_once(earlier, earlier) == NO_CHANGES
    with pytest.raises(Conflict, match="`reference` 'invoice 1' was already used") as caught:
        book_once(replace(earlier, micros=6), earlier)
    assert earlier.key not in caught.value.message


def test_refunds_what_is_left_of_the_charge() -> None:
    facts = deposits.RefundFacts(record=record(done=2), capture=CAPTURE, refunded=1, earlier=None)
    changes = deposits.refund(facts, None, "ticket", NOW)
    assert [entry.micros for entry in changes.entries] == [10_000]
    assert [(row.device, row.revenue) for row in changes.metered] == [("NVIDIA H100", -10_000)]
    with pytest.raises(InvalidRequest, match=r"at most \$0\.01"):
        deposits.refund(facts, 10_001, "ticket", NOW)
    with pytest.raises(Conflict, match="was not charged"):
        deposits.refund(replace(facts, capture=None), None, "ticket", NOW)
    repeated = replace(facts, earlier=changes.entries[0])
    assert deposits.refund(repeated, None, "ticket", NOW) == NO_CHANGES
    with pytest.raises(InvalidRequest):
        deposits.refund(repeated, -1, "ticket", NOW)


def test_renews_an_allowance_once_per_period() -> None:
    start = datetime(2026, 2, 17, tzinfo=UTC)
    first = ledger.grant_entry("acct", 100, deposits.allowance_reference(start), start)
    assert first.reference == "plan 2026-02-17T00:00:00.000000+00:00"
    assert first.key == deposits.allowance_key("acct", start)
    facts = deposits.AllowanceFacts(
        account_id="acct", balance=Balance(500, 0), period_start=start, grant=first, net_charges=30
    )
    changes = deposits.renew_allowance(facts, 200, NOW, NOW)
    assert [(entry.kind, entry.micros) for entry in changes.entries] == [
        (EntryKind.EXPIRE, 70),
        (EntryKind.GRANT, 200),
    ]
    for period in (start, start - timedelta(days=1)):
        assert deposits.renew_allowance(facts, 200, period, NOW) == NO_CHANGES


def test_checks_spend_caps_of_day_and_calendar_month() -> None:
    spent = {date(2026, 3, 17): 10_000, date(2026, 3, 1): 90_000}
    check_spend_caps(JOB, ApiKeyLimits(day_cap=20_001, month_cap=100_001), spent.__getitem__)
    for period, limits in (
        ("day", ApiKeyLimits(day_cap=20_000)),
        ("month", ApiKeyLimits(month_cap=100_000)),
    ):
        with pytest.raises(InsufficientBalance, match=f"per {period}") as caught:
            check_spend_caps(JOB, limits, spent.__getitem__)
        assert (caught.value.code, caught.value.details["period"]) == ("key_spend_cap", period)


def test_evaluates_alerts_on_the_state_after_the_changes() -> None:
    def alert(metric: AlertMetric, threshold: int) -> Alert:
        return Alert(
            id=metric.value, account_id="acct", watched=metric, threshold=threshold, url=None, created_at=NOW
        )

    status = BudgetStatus(
        account_id="acct",
        balance=Balance(0, JOB.price),
        day_spend=0,
        month_spend=5,
        alerts=(
            alert(AlertMetric.BALANCE, 1),
            alert(AlertMetric.DAY, JOB.price),
            alert(AlertMetric.MONTH, JOB.price + 6),
        ),
    )
    assert with_budget_alerts(Changes(), status, NOW) == NO_CHANGES
    charged = charging.capture_on_success(record(done=2), HOLD, NOW)
    changes = with_budget_alerts(charged, status, NOW)
    assert [one.id for one in changes.alerts] == ["balance", "day"]
    assert [one.topic for one in changes.messages] == ["job.succeeded", "budget.alert", "budget.alert"]


def test_takes_the_late_result_of_a_waiting_shard_but_no_empty_one() -> None:
    (shard,) = create_shards(JOB, 1)
    assert finished(shard).status is ShardStatus.SUCCEEDED
    assert transitions.finish_shard(finished(shard), [IMAGE], Usage()) is None
    with pytest.raises(ValueError, match="without outputs"):
        transitions.finish_shard(shard, [], Usage())

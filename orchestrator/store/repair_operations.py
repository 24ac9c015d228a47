"""Operations of `RepairStore` with rules, the same for every implementation; see `operations`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from orchestrator.billing import deposits, repairs
from orchestrator.billing.changes import Changes
from orchestrator.billing.ledger_rules import capture_key, hold_key, release_key
from orchestrator.jobs import JobRecord, JobStatus, PendingResponse
from orchestrator.store.operations import get_job
from orchestrator.store.transaction import Transaction

#: Reference of the refund of a result that was never sent.
UNSENT_REFERENCE = "undelivered"


def record_response(tx: Transaction, job_id: str, pending: PendingResponse | None) -> None:
    """Record what the response about a job still has to bring."""
    tx.lock_job(job_id)
    job = get_job(tx, job_id).job
    is_lost = pending is PendingResponse.LOST
    if job.pending_response is None or (is_lost and job.status is not JobStatus.SUCCEEDED):
        return
    tx.apply_changes(Changes(job=replace(job, pending_response=pending)))


def refund_unsent_result(tx: Transaction, job_id: str, now: datetime) -> JobRecord:
    """Refund what is left of the charge for a result that was never sent."""
    tx.lock_job(job_id)
    record = get_job(tx, job_id)
    if record.job.pending_response is PendingResponse.RESULT and record.job.status is JobStatus.SUCCEEDED:
        changes = Changes(job=replace(record.job, pending_response=None))
        capture, refunded = tx.find_entry(capture_key(job_id)), tx.sum_refunds(job_id)
        if capture is not None and refunded < capture.micros:
            facts = deposits.RefundFacts(record=record, capture=capture, refunded=refunded, earlier=None)
            changes += deposits.refund(facts, None, UNSENT_REFERENCE, now)
        tx.apply_changes(changes)
    return get_job(tx, job_id)


def find_defect(tx: Transaction, job_id: str) -> str | None:
    """Return what is wrong with a job; None if nothing is."""
    return repairs.find_defect(_job_facts(tx, job_id))


def mend_job(tx: Transaction, job_id: str, now: datetime) -> JobRecord:
    """Make a job whole whose parts do not belong together."""
    tx.lock_job(job_id)
    tx.apply_changes(repairs.mend_job(_job_facts(tx, job_id), now))
    return get_job(tx, job_id)


def _job_facts(tx: Transaction, job_id: str) -> repairs.JobFacts:
    settled = (tx.find_entry(key(job_id)) for key in (capture_key, release_key))
    return repairs.JobFacts(
        record=get_job(tx, job_id),
        hold=tx.find_entry(hold_key(job_id)),
        is_settled=any(entry is not None for entry in settled),
        attempted_shards=frozenset(attempt.shard_id for attempt in tx.list_open_attempts_of(job_id)),
    )

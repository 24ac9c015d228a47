"""The store's operations with rules, the same for every implementation.

Each loads facts from a transaction, calls a pure rule of `billing` or `jobs`, and applies its changes. All
errors are raised before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.billing import charging, deposits
from orchestrator.billing.alerts import (
    BudgetStatus,
    check_alert_count,
    check_budget_alerts,
    with_budget_alerts,
)
from orchestrator.billing.changes import Changes
from orchestrator.billing.ledger_rules import book_once, capture_key, hold_key
from orchestrator.billing.metering import meter_bytes_sent
from orchestrator.billing.spend_caps import check_spend_caps
from orchestrator.billing.values import ApiKey
from orchestrator.errors import InvalidRequest
from orchestrator.jobs import Attempt, Job, JobError, JobRecord, JobStatus, Output, Shard, Usage
from orchestrator.jobs import attempt_transitions as transitions
from orchestrator.jobs.loras import TrainedLora, make_lora
from orchestrator.jobs.quarantine import QuarantinedShard
from orchestrator.store import file_operations
from orchestrator.store.lookup import found
from orchestrator.store.texts import storable_error, storable_text
from orchestrator.store.transaction import Transaction
from pricing import ledger
from pricing.ledger import Balance

# Jobs


def get_job(tx: Transaction, job_id: str) -> JobRecord:
    """Return a job with its shards. Raises NotFound."""
    return found(tx.find_job(job_id), "job", job_id)


def find_job_by_idempotency_key(tx: Transaction, job: Job) -> JobRecord | None:
    """Return the earlier job with the same idempotency key. Raises Conflict if its request differs.

    Returns None if that job failed for a reason that may have passed: then the key is free again.
    """
    earlier = _find_job_with_key(tx, job)
    if earlier is None or charging.frees_idempotency_key(earlier):
        return None
    charging.check_idempotent_replay(job, earlier)
    return earlier


def _find_job_with_key(tx: Transaction, job: Job) -> JobRecord | None:
    if job.idempotency_key is None:
        return None
    return tx.find_job_with_idempotency_key(job.account_id, job.idempotency_key)


def _free_key(tx: Transaction, job: Job) -> Changes:
    """Free the idempotency key of a new job if a failed job has it."""
    failed = _find_job_with_key(tx, job)
    return Changes(freed_key_of=None if failed is None else failed.job.id)


def add_job(
    tx: Transaction,
    job: Job,
    shards: Sequence[Shard],
    input_keys: Sequence[str] = (),
    attempts: Sequence[Attempt] = (),
) -> tuple[JobRecord, bool]:
    """Add a job, hold its price and start its first attempts; a replay returns the earlier job and False.

    The job is returned as it was accepted, before its attempts were started.
    """
    charging.check_new_job(job, shards)
    tx.lock_objects(input_keys)
    tx.lock_account(job.account_id)
    earlier = tx.find_job(job.id) or find_job_by_idempotency_key(tx, job)
    if earlier is not None:
        return earlier, False
    balance = tx.get_balance(job.account_id)
    limits = tx.find_key_limits(job.key_id)
    if limits is not None:
        check_spend_caps(job, limits, lambda since: tx.sum_key_spend(job.key_id, since))
    accepted = JobRecord(job=job, shards=tuple(shards))
    changes = _free_key(tx, job) + charging.place_hold(job, shards, balance)
    changes += Changes(files=file_operations.reference_inputs(tx, job, input_keys))
    tx.apply_changes(changes + charging.start_new_job(accepted, attempts))
    return accepted, True


def add_rejected_job(tx: Transaction, job: Job, shards: Sequence[Shard]) -> JobRecord:
    """Add a failed job without a hold; a replay returns the earlier job."""
    charging.check_rejected_job(job)
    tx.lock_account(job.account_id)
    earlier = tx.find_job(job.id) or find_job_by_idempotency_key(tx, job)
    if earlier is not None:
        return earlier
    tx.get_account(job.account_id)
    tx.apply_changes(_free_key(tx, job) + charging.reject_job(job, shards))
    return get_job(tx, job.id)


def fail_job(tx: Transaction, job_id: str, error: JobError, now: datetime) -> JobRecord:
    """Fail an unfinished job and release its hold."""
    return _release_job(tx, job_id, JobStatus.FAILED, storable_error(error), now)


def cancel_job(tx: Transaction, job_id: str, now: datetime) -> JobRecord:
    """Cancel an unfinished job and release its hold."""
    return _release_job(tx, job_id, JobStatus.CANCELLED, None, now)


def cancel_shard(tx: Transaction, job_id: str, index: int, now: datetime) -> JobRecord:
    """Cancel one shard of an unfinished job. With the last open shard the job ends, and is charged."""
    tx.lock_job(job_id)
    hold = tx.find_entry(hold_key(job_id))
    record = get_job(tx, job_id)
    changes = charging.cancel_shard(record, index, hold, now)
    if changes.usage:
        tx.lock_account(record.job.account_id)
        changes = _with_alerts(tx, record.job.account_id, changes, now)
    tx.apply_changes(changes)
    return changes.apply_to(record)


def quarantine_shard(
    tx: Transaction, quarantined: QuarantinedShard, error: JobError, now: datetime
) -> JobRecord:
    """Keep a shard for operators and fail its job, unless that is finished, and release its hold."""
    tx.lock_job(quarantined.job_id)
    hold = tx.find_entry(hold_key(quarantined.job_id))
    record = get_job(tx, quarantined.job_id)
    changes = charging.release_on_failure(record, JobStatus.FAILED, storable_error(error), hold, now)
    tx.apply_changes(changes + Changes(quarantined=quarantined))
    return changes.apply_to(record)


def _release_job(
    tx: Transaction, job_id: str, status: JobStatus, error: JobError | None, now: datetime
) -> JobRecord:
    tx.lock_job(job_id)
    hold = tx.find_entry(hold_key(job_id))
    record = get_job(tx, job_id)
    changes = charging.release_on_failure(record, status, error, hold, now)
    tx.apply_changes(changes)
    return changes.apply_to(record)


# Shards and attempts


def start_attempt(tx: Transaction, attempt: Attempt) -> bool:
    """Start a waiting shard, and its job with it. False if the shard does not wait."""
    tx.lock_job_of_shard(attempt.shard_id)
    record, shard = _get_shard(tx, attempt.shard_id)
    earlier = tx.find_attempt(attempt.prompt_id)
    if earlier is not None:
        return transitions.is_attempt_running(earlier, shard)
    changes = charging.start_attempt(record, attempt)
    tx.apply_changes(changes)
    return bool(changes.new_attempts)


def end_attempt(
    tx: Transaction,
    prompt_id: str,
    outcome: str,
    detail: str | None,
    now: datetime,
    *,
    retry: bool,
    has_run: bool = True,
) -> None:
    """End a failed attempt; with `retry` its shard waits again. `has_run`: whether its instance ran it."""
    attempt = _lock_attempt(tx, prompt_id)
    stored = None if detail is None else storable_text(detail)
    ended = transitions.end_attempt(attempt, outcome, stored, now)
    if ended is None:
        return
    _, shard = _get_shard(tx, attempt.shard_id)
    waiting = transitions.retry_shard(shard, attempt, outcome, has_run=has_run) if retry else None
    tx.apply_changes(Changes(ended_attempt=ended, shards=() if waiting is None else (waiting,)))


def finish_shard(
    tx: Transaction,
    prompt_id: str,
    outputs: Sequence[Output],
    usage: Usage,
    now: datetime,
    *,
    trained: TrainedLora | None = None,
) -> JobRecord:
    """Store a shard's outputs; charge the job if it was the last shard.

    Objects that the shard does not take are condemned. It takes none that is condemned already: its attempt
    was given up long ago.
    """
    attempt = _lock_attempt(tx, prompt_id)
    record, shard = _get_shard(tx, attempt.shard_id)
    finished = transitions.finish_shard(shard, outputs, usage)
    keys = [output.key for output in outputs]
    tx.lock_objects(keys)
    if finished is not None and tx.find_condemned_keys(keys):
        finished = None
    ended = transitions.end_attempt(attempt, transitions.OUTCOME_OK, None, now)
    changes = Changes(ended_attempt=ended)
    if finished is not None:
        hold = tx.find_entry(hold_key(record.job.id))
        changes += charging.complete_shard(record, finished, hold, now)
        if trained is not None:
            changes += Changes(new_lora=make_lora(record, outputs[0], trained, now))
    else:
        changes += Changes(files=file_operations.discard_outputs(tx, keys, now))
    if changes.usage:
        tx.lock_account(record.job.account_id)
        changes = _with_alerts(tx, record.job.account_id, changes, now)
    tx.apply_changes(changes)
    return changes.apply_to(record)


def _lock_attempt(tx: Transaction, prompt_id: str) -> Attempt:
    """Lock the job of an attempt, and return the attempt as it is now. Raises NotFound."""
    tx.lock_job_of_attempt(prompt_id)
    return found(tx.find_attempt(prompt_id), "attempt with prompt id", prompt_id)


def _get_shard(tx: Transaction, shard_id: str) -> tuple[JobRecord, Shard]:
    record = found(tx.find_job_of_shard(shard_id), "shard", shard_id)
    return record, next(shard for shard in record.shards if shard.id == shard_id)


def record_bytes_sent(tx: Transaction, job_id: str, size: int, now: datetime) -> None:
    """Add delivered bytes to the metered usage of the job's model and device."""
    tx.apply_changes(Changes(metered=(meter_bytes_sent(get_job(tx, job_id), size, now.date()),)))


# Wallets


def credit(tx: Transaction, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
    """Book a payment."""
    deposits.check_amount(micros)
    tx.lock_account(account_id)
    tx.get_account(account_id)
    entry = ledger.credit_entry(account_id, micros, reference, now)
    return _book(tx, account_id, book_once(entry, tx.find_entry(entry.key)), now)


def grant(tx: Transaction, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
    """Book a promotional credit."""
    deposits.check_amount(micros)
    tx.lock_account(account_id)
    tx.get_account(account_id)
    deposits.check_grant_reference(reference)
    entry = ledger.grant_entry(account_id, micros, reference, now)
    return _book(tx, account_id, book_once(entry, tx.find_entry(entry.key)), now)


def debit(tx: Transaction, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
    """Book a pay-out or correction."""
    deposits.check_amount(micros)
    tx.lock_account(account_id)
    entry = ledger.debit_entry(account_id, micros, reference, now)
    changes = deposits.debit(entry, tx.find_entry(entry.key), tx.get_balance(account_id))
    return _book(tx, account_id, changes, now)


def refund(tx: Transaction, job_id: str, micros: int | None, reference: str, now: datetime) -> Balance:
    """Refund part or all of a job's charge."""
    tx.lock_job(job_id)
    record = get_job(tx, job_id)
    tx.lock_account(record.job.account_id)
    facts = deposits.RefundFacts(
        record=record,
        capture=tx.find_entry(capture_key(job_id)),
        refunded=tx.sum_refunds(job_id),
        earlier=tx.find_entry(deposits.refund_key(job_id, reference)),
    )
    return _book(tx, record.job.account_id, deposits.refund(facts, micros, reference, now), now)


def renew_allowance(
    tx: Transaction, account_id: str, micros: int, period_start: datetime, now: datetime
) -> Balance:
    """Expire the last allowance and grant the one of a new billing month."""
    tx.lock_account(account_id)
    facts = _allowance_facts(tx, account_id)
    return _book(tx, account_id, deposits.renew_allowance(facts, micros, period_start, now), now)


def remaining_allowance(tx: Transaction, account_id: str) -> int:
    """Return the unspent micro-dollars of the current allowance. Raises NotFound."""
    return deposits.remaining_allowance(_allowance_facts(tx, account_id))


def _allowance_facts(tx: Transaction, account_id: str) -> deposits.AllowanceFacts:
    balance, start = tx.get_balance(account_id), tx.find_period_start(account_id)
    granted = None if start is None else tx.find_entry(deposits.allowance_key(account_id, start))
    return deposits.AllowanceFacts(
        account_id=account_id,
        balance=balance,
        period_start=start,
        grant=granted,
        net_charges=0 if granted is None else tx.sum_net_charges_after(granted),
    )


def _book(tx: Transaction, account_id: str, changes: Changes, now: datetime) -> Balance:
    """Apply changes of an account's balance with the budget alerts that they fire."""
    if changes.entries or changes.renewal:
        tx.apply_changes(_with_alerts(tx, account_id, changes, now))
    return tx.get_balance(account_id)


# Budget alerts


def check_new_alert(tx: Transaction, account_id: str, max_alerts: int | None) -> None:
    """Check that an account may add an alert. Raises NotFound, InvalidRequest."""
    tx.lock_account(account_id)
    tx.get_account(account_id)
    check_alert_count(tx.list_alerts(account_id), max_alerts)


def check_alerts(tx: Transaction, account_id: str, now: datetime) -> None:
    """Evaluate an account's alerts after one was added or changed."""
    tx.apply_changes(check_budget_alerts(_budget_status(tx, account_id, now), now))


def _with_alerts(tx: Transaction, account_id: str, changes: Changes, now: datetime) -> Changes:
    """Return the changes with the budget alerts that they fire; most accounts have none."""
    if not tx.list_alerts(account_id):
        return changes
    return with_budget_alerts(changes, _budget_status(tx, account_id, now), now)


def _budget_status(tx: Transaction, account_id: str, now: datetime) -> BudgetStatus:
    today = now.date()
    return BudgetStatus(
        account_id=account_id,
        balance=tx.get_balance(account_id),
        day_spend=tx.sum_account_spend(account_id, today),
        month_spend=tx.sum_account_spend(account_id, today.replace(day=1)),
        alerts=tx.list_alerts(account_id),
    )


# API keys


def check_key_rotatable(key: ApiKey) -> None:
    """Raise InvalidRequest for a revoked key."""
    if key.is_revoked:
        raise InvalidRequest(
            f"API key {key.id!r} is revoked and cannot be rotated; create a new key.", code="key_revoked"
        )

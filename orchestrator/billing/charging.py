"""Charging of jobs: place the hold, capture it when the job succeeds, release it when the job does not.

Pure rules. A store loads the arguments, calls a rule and applies the returned `Changes` in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from orchestrator.billing.changes import NO_CHANGES, Changes, NewMessage
from orchestrator.billing.ledger_rules import check_available
from orchestrator.billing.metering import job_usage_row, meter_revenue, meter_shard
from orchestrator.errors import Conflict
from orchestrator.jobs import (
    REPEATABLE_FAILURES,
    Attempt,
    Job,
    JobError,
    JobRecord,
    JobStatus,
    Shard,
    ShardStatus,
)
from orchestrator.jobs import attempt_transitions as transitions
from orchestrator.jobs.options import ProgressMessage, options_of
from orchestrator.own_graphs import OWN_GRAPH_ID
from pricing.gpu_time import price_gpu_time
from pricing.ledger import Balance, LedgerEntry, capture_entries, hold_entry

#: Parameter of a job that is charged by its GPU time: micro-dollars per second, as of its acceptance. No
#: parameter of a model has a name like it.
GPU_SECOND_PARAM = "@gpu_second_micros"
#: Parameter of a job whose model makes several results in each run: how many its price is for.
BATCH_PARAM = "@batch"
#: Parameter of a job with several shards or results: the minimum charge of a request in micro-dollars, as of
#: its acceptance.
MINIMUM_PARAM = "@minimum_micros"
OPEN_SHARD_STATUSES = (ShardStatus.WAITING, ShardStatus.RUNNING)
#: Statuses of the shards of a job that is charged.
ENDED_WELL = frozenset({ShardStatus.SUCCEEDED, ShardStatus.CANCELLED})


def check_idempotent_replay(job: Job, earlier: JobRecord) -> None:
    """Raise Conflict if `earlier` used the same idempotency key with a different request."""
    if earlier.job.request_digest != job.request_digest:
        raise Conflict(
            f"`Idempotency-Key` {job.idempotency_key!r} was already used with a different request "
            f"(job {earlier.job.id!r}). Repeat that request unchanged or use a new key.",
            code="idempotency_conflict",
            param="Idempotency-Key",
        )


def frees_idempotency_key(earlier: JobRecord) -> bool:
    """Whether the same idempotency key begins a new job: its job failed for a reason that may have passed."""
    if earlier.job.model == OWN_GRAPH_ID:
        return False  # Comfy's clients: a key is for one job, whatever became of it
    error = earlier.job.error
    return earlier.job.status is JobStatus.FAILED and error is not None and error.code in REPEATABLE_FAILURES


def check_new_job(job: Job, shards: Sequence[Shard]) -> None:
    """Raise ValueError unless the job is unfinished and has shards."""
    if job.is_finished or not shards:
        raise ValueError(f"job {job.id} must come in unfinished and with shards")


def place_hold(job: Job, shards: Sequence[Shard], balance: Balance) -> Changes:
    """Accept a job and hold its price; a free job books no entry. Raises InsufficientBalance."""
    check_available(balance, job.price)
    record = JobRecord(job=job, shards=tuple(shards))
    if not job.price:
        return Changes(new_job=record)
    return Changes(new_job=record, entries=(hold_entry(job.account_id, job.id, job.price, job.created_at),))


def start_attempt(record: JobRecord, attempt: Attempt) -> Changes:
    """Start a waiting shard, and its job with it; a shard that does not wait stays as it is."""
    shard = next(shard for shard in record.shards if shard.id == attempt.shard_id)
    started = transitions.start_shard(shard, attempt)
    if started is None:
        return NO_CHANGES
    job = transitions.start_job(record.job, attempt.started_at)
    messages = progress_messages(job, ProgressMessage.STARTED, attempt.started_at) if job else ()
    return Changes(job=job, shards=(started,), new_attempts=(attempt,), messages=messages)


def start_new_job(record: JobRecord, attempts: Sequence[Attempt]) -> Changes:
    """Add a job whose first attempts have started."""
    changes = NO_CHANGES
    for attempt in attempts:
        started = start_attempt(record, attempt)
        record, changes = started.apply_to(record), changes + started
    return replace(changes, new_job=record, job=None, shards=())


def check_rejected_job(job: Job) -> None:
    """Raise ValueError unless the job has failed."""
    if job.status is not JobStatus.FAILED:
        raise ValueError(f"job {job.id} must come in failed")


def reject_job(job: Job, shards: Sequence[Shard]) -> Changes:
    """Record a failed job with failed shards and no hold."""
    failed = tuple(shard.transition_to(ShardStatus.FAILED) for shard in shards)
    return Changes(new_job=JobRecord(job=job, shards=failed), messages=job_messages(job, job.created_at))


def complete_shard(record: JobRecord, shard: Shard, hold: LedgerEntry | None, now: datetime) -> Changes:
    """Store a succeeded shard and its metered usage; charge the job if it was the last one.

    `record` is the job before the change, `shard` its shard after the change.
    """
    shards = tuple(shard if other.id == shard.id else other for other in record.shards)
    metered = meter_shard(shard, record.job.model, now.date())
    messages = progress_messages(record.job, ProgressMessage.OUTPUT, now)
    changes = Changes(shards=(shard,), metered=(metered,), messages=messages)
    return changes + capture_on_success(replace(record, shards=shards), hold, now)


def progress_messages(job: Job, kind: ProgressMessage, now: datetime) -> tuple[NewMessage, ...]:
    """Return the webhook message about an unfinished job, or nothing if the caller asked for none.

    It is no message of the finished job, so `job_id` is not set.
    """
    if job.webhook_url is None or job.is_finished or kind not in options_of(job).messages:
        return ()
    payload = {"jobId": job.id}
    return (
        NewMessage(
            account_id=job.account_id, topic=kind, payload=payload, url=job.webhook_url, created_at=now
        ),
    )


def capture_on_success(record: JobRecord, hold: LedgerEntry | None, now: datetime) -> Changes:
    """Finish and charge the job if all its shards have succeeded, or were cancelled one by one.

    Captures the price, by default the full hold, adds revenue and usage to the daily totals and sends the
    job's webhook.
    """
    if {shard.status for shard in record.shards} - ENDED_WELL or not count_succeeded(record):
        return NO_CHANGES
    record = replace(record, job=replace(record.job, price=final_price(record)))
    job = record.job
    if job.status is JobStatus.QUEUED:
        job = job.transition_to(JobStatus.RUNNING, started_at=now)
    job = job.transition_to(JobStatus.SUCCEEDED, finished_at=now)
    return Changes(
        job=job,
        entries=capture_hold(hold, job.price, now),
        metered=tuple(meter_revenue(record, now.date())),
        usage=(job_usage_row(record, now.date()),),
        messages=job_messages(job, now),
    )


def final_price(record: JobRecord) -> int:
    """Return the micro-dollars to capture: the price of the GPU time used, if the job is charged by it.

    Otherwise cancelled shards, and results that runs have not made, take their equal shares off the price,
    which stays at least the minimum of a request. It is never more than the hold, which is the price until
    then.
    """
    job = record.job
    rate = job.params.get(GPU_SECOND_PARAM)
    if isinstance(rate, int):
        seconds = sum(shard.usage.gpu_seconds for shard in record.shards)
        return min(job.price, price_gpu_time(seconds, rate))
    batch = job.params.get(BATCH_PARAM)
    batch = batch if isinstance(batch, int) else 1
    share = -(-job.price * count_made(record, batch) // (batch * len(record.shards)))
    minimum = job.params.get(MINIMUM_PARAM)
    return max(share, min(job.price, minimum)) if isinstance(minimum, int) else share


def count_succeeded(record: JobRecord) -> int:
    """Return how many shards have stored outputs."""
    return sum(shard.status is ShardStatus.SUCCEEDED for shard in record.shards)


def count_made(record: JobRecord, batch: int) -> int:
    """Return how many results the shards have made: each at most `batch`, and one without a batch."""
    done = [shard for shard in record.shards if shard.status is ShardStatus.SUCCEEDED]
    return len(done) if batch == 1 else sum(min(len(shard.outputs), batch) for shard in done)


def cancel_shard(record: JobRecord, index: int, hold: LedgerEntry | None, now: datetime) -> Changes:
    """Cancel one shard of an unfinished job; a shard that has ended stays as it is.

    The others go on. With the last open shard the job ends: it succeeds if a shard has outputs.
    """
    shard = record.shards[index]
    if record.job.is_finished or shard.status not in OPEN_SHARD_STATUSES:
        return NO_CHANGES
    cancelled = shard.transition_to(ShardStatus.CANCELLED)
    shards = tuple(cancelled if other.id == shard.id else other for other in record.shards)
    if all(other.status is ShardStatus.CANCELLED for other in shards):
        return release_on_failure(record, JobStatus.CANCELLED, None, hold, now)
    return Changes(shards=(cancelled,)) + capture_on_success(replace(record, shards=shards), hold, now)


def release_on_failure(
    record: JobRecord, status: JobStatus, error: JobError | None, hold: LedgerEntry | None, now: datetime
) -> Changes:
    """Fail or cancel an unfinished job and release its hold; a finished job stays as it is.

    Open shards take the job's status. Attempts stay open until the instance reports their end.
    """
    if record.job.is_finished:
        return NO_CHANGES
    job = record.job.transition_to(status, finished_at=now, error=error, pending_response=None)
    return Changes(
        job=job,
        shards=tuple(
            shard.transition_to(ShardStatus(status.value))
            for shard in record.shards
            if shard.status in OPEN_SHARD_STATUSES
        ),
        entries=release_hold(hold, now),
        messages=job_messages(job, now),
    )


def capture_hold(hold: LedgerEntry | None, captured: int, now: datetime) -> tuple[LedgerEntry, ...]:
    """Return the entries that capture part or all of a hold and release the rest; none without a hold."""
    return () if hold is None else tuple(capture_entries(hold, captured, now))


def release_hold(hold: LedgerEntry | None, now: datetime) -> tuple[LedgerEntry, ...]:
    """Return the entry that releases a whole hold; none without a hold."""
    return capture_hold(hold, 0, now)


def job_messages(job: Job, now: datetime) -> tuple[NewMessage, ...]:
    """Return the webhook message about a finished job, or nothing if the caller asked for none."""
    if job.notify_url is None:
        return ()
    return (
        NewMessage(
            account_id=job.account_id,
            topic=f"job.{job.status}",
            payload={"jobId": job.id},
            url=job.notify_url,
            created_at=now,
            job_id=job.id,
        ),
    )

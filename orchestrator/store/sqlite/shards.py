"""Shards and attempts: how work begins, is retried, and ends with outputs that pay for themselves."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from orchestrator.errors import NotFound
from orchestrator.jobs import Attempt, JobRecord, JobStatus, Output, Shard, ShardStatus, Usage
from orchestrator.store.sqlite import alerts, outbox, usage, wallet
from orchestrator.store.sqlite.jobs import require_job, update_job
from orchestrator.store.sqlite.rows import (
    attempt_to_row,
    format_time,
    insert_row,
    row_to_attempt,
    row_to_shard,
    shard_result_to_row,
    update_row,
)

OUTCOME_OK = "ok"


def list_open_attempts(db: sqlite3.Connection) -> list[Attempt]:
    rows = db.execute("SELECT * FROM attempts WHERE ended_at IS NULL ORDER BY started_at, prompt_id")
    return [row_to_attempt(row) for row in rows]


def start_attempt(db: sqlite3.Connection, attempt: Attempt) -> bool:
    """False where the shard does not wait; an attempt that has begun before is still on. Raises NotFound."""
    shard = _get_shard(db, attempt.shard_id)
    begun = db.execute("SELECT * FROM attempts WHERE prompt_id = ?", (attempt.prompt_id,)).fetchone()
    if begun is not None:
        return begun["ended_at"] is None and shard.status is ShardStatus.RUNNING
    if shard.status is not ShardStatus.WAITING:
        return False
    insert_row(db, "attempts", attempt_to_row(attempt))
    _update_shard(db, shard.transition_to(ShardStatus.RUNNING, attempts=attempt.number))
    job = require_job(db, shard.job_id).job
    if job.status is JobStatus.QUEUED:
        update_job(db, job.transition_to(JobStatus.RUNNING, started_at=attempt.started_at))
    return True


def end_attempt(
    db: sqlite3.Connection,
    prompt_id: str,
    outcome: str,
    detail: str | None,
    now: datetime,
    retry: bool,
) -> None:
    """Raises NotFound. An attempt that has ended stays as it is."""
    attempt = _get_attempt(db, prompt_id)
    if attempt.ended_at is not None:
        return
    _record_attempt_end(db, prompt_id, outcome, detail, now)
    shard = _get_shard(db, attempt.shard_id)
    if retry and shard.status is ShardStatus.RUNNING and shard.attempts == attempt.number:
        _update_shard(db, shard.transition_to(ShardStatus.WAITING))


def finish_shard(
    db: sqlite3.Connection, prompt_id: str, outputs: Sequence[Output], attempt_usage: Usage, now: datetime
) -> JobRecord:
    """Raises NotFound, and ValueError without outputs: nothing may be charged for nothing."""
    if not outputs:
        raise ValueError(f"attempt {prompt_id} finished without outputs")
    attempt = _get_attempt(db, prompt_id)
    if attempt.ended_at is None:
        _record_attempt_end(db, prompt_id, OUTCOME_OK, None, now)
    shard = _get_shard(db, attempt.shard_id)
    if shard.status is ShardStatus.WAITING:
        # The result of an attempt that was given up for lost: it is as good as any other.
        shard = shard.transition_to(ShardStatus.RUNNING)
    if shard.status is ShardStatus.RUNNING:
        done = shard.transition_to(ShardStatus.SUCCEEDED, outputs=tuple(outputs), usage=attempt_usage)
        _update_shard(db, done)
        record = require_job(db, shard.job_id)
        usage.record_shard_usage(db, done, record.job.model, now)
        _complete_job_if_done(db, record, now)
    return require_job(db, shard.job_id)


def _complete_job_if_done(db: sqlite3.Connection, record: JobRecord, now: datetime) -> None:
    """With its last shard a job succeeds, is paid, and counts as usage."""
    if any(shard.status is not ShardStatus.SUCCEEDED for shard in record.shards):
        return
    job = record.job
    if job.status is JobStatus.QUEUED:
        job = job.transition_to(JobStatus.RUNNING, started_at=now)
    job = job.transition_to(JobStatus.SUCCEEDED, finished_at=now)
    update_job(db, job)
    wallet.capture_hold(db, job.id, job.price, now)
    usage.record_job_usage(db, replace(record, job=job), now)
    outbox.add_job_message(db, job, now)
    alerts.check_alerts(db, job.account_id, now)


def _get_attempt(db: sqlite3.Connection, prompt_id: str) -> Attempt:
    row = db.execute("SELECT * FROM attempts WHERE prompt_id = ?", (prompt_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no attempt {prompt_id!r}.")
    return row_to_attempt(row)


def _get_shard(db: sqlite3.Connection, shard_id: str) -> Shard:
    row = db.execute("SELECT * FROM shards WHERE id = ?", (shard_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no shard {shard_id!r}.")
    return row_to_shard(row)


def _record_attempt_end(
    db: sqlite3.Connection, prompt_id: str, outcome: str, detail: str | None, now: datetime
) -> None:
    db.execute(
        "UPDATE attempts SET ended_at = ?, outcome = ?, detail = ? WHERE prompt_id = ?",
        (format_time(now), outcome, detail, prompt_id),
    )


def _update_shard(db: sqlite3.Connection, shard: Shard) -> None:
    """Write what may change of a shard."""
    update_row(db, "shards", shard.id, shard_result_to_row(shard))

"""Jobs: how they come in, how they are found, how they end without having succeeded."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.jobs import Job, JobError, JobRecord, JobStatus, Shard, ShardStatus
from orchestrator.store.sqlite import outbox, wallet
from orchestrator.store.sqlite.accounts import get_account
from orchestrator.store.sqlite.files import detach_job_files
from orchestrator.store.sqlite.keys import check_spend_caps
from orchestrator.store.sqlite.rows import (
    dump_json,
    format_time,
    insert_row,
    job_status_to_row,
    job_to_row,
    row_to_job,
    row_to_shard,
    shard_to_row,
    update_row,
)
from orchestrator.store.values import Page


def add_job(db: sqlite3.Connection, job: Job, shards: Sequence[Shard]) -> tuple[JobRecord, bool]:
    """Raises InsufficientBalance, Conflict, NotFound."""
    if job.is_finished or not shards:
        raise ValueError(f"job {job.id} must come in unfinished and with shards")
    earlier = find_job(db, job.id) or find_job_by_idempotency_key(db, job)
    if earlier is not None:
        return earlier, False
    get_account(db, job.account_id)
    check_spend_caps(db, job)
    insert_row(db, "jobs", job_to_row(job))
    for shard in shards:
        insert_row(db, "shards", shard_to_row(shard))
    wallet.place_hold(db, job.account_id, job.id, job.price, job.created_at)
    return JobRecord(job=job, shards=tuple(shards)), True


def add_rejected_job(db: sqlite3.Connection, job: Job, shards: Sequence[Shard]) -> JobRecord:
    """Keep a job that has failed before it began; nothing is held for it. Raises Conflict, NotFound."""
    if job.status is not JobStatus.FAILED:
        raise ValueError(f"job {job.id} must come in failed")
    earlier = find_job(db, job.id) or find_job_by_idempotency_key(db, job)
    if earlier is not None:
        return earlier
    get_account(db, job.account_id)
    insert_row(db, "jobs", job_to_row(job))
    for shard in shards:
        insert_row(db, "shards", shard_to_row(shard.transition_to(ShardStatus.FAILED)))
    outbox.add_job_message(db, job, job.created_at)
    return require_job(db, job.id)


def find_job_by_idempotency_key(db: sqlite3.Connection, job: Job) -> JobRecord | None:
    """The job that this account's idempotency key stands for. Raises Conflict for another request."""
    if job.idempotency_key is None:
        return None
    row = db.execute(
        "SELECT * FROM jobs WHERE account_id = ? AND idempotency_key = ?",
        (job.account_id, job.idempotency_key),
    ).fetchone()
    if row is None:
        return None
    if row["request_digest"] != job.request_digest:
        raise Conflict(
            "This Idempotency-Key was used with a different request.",
            code="idempotency_conflict",
            param="Idempotency-Key",
        )
    return load_job_records(db, [row])[0]


def find_job(db: sqlite3.Connection, job_id: str) -> JobRecord | None:
    row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return None if row is None else load_job_records(db, [row])[0]


def require_job(db: sqlite3.Connection, job_id: str) -> JobRecord:
    """Raises NotFound."""
    record = find_job(db, job_id)
    if record is None:
        raise NotFound(f"There is no job {job_id!r}.")
    return record


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFilter:
    """Which jobs, in which order; None: all."""

    account_id: str | None = None
    status: JobStatus | None = None
    models: Sequence[str] | None = None
    oldest_first: bool = False


def list_jobs(
    db: sqlite3.Connection, job_filter: JobFilter, limit: int, cursor: str | None
) -> Page[JobRecord]:
    """Raises InvalidRequest for a cursor that was never given out."""
    after, order = (">", "ASC") if job_filter.oldest_first else ("<", "DESC")
    conditions = []
    values: dict[str, object] = {"limit": limit + 1}
    if job_filter.account_id is not None:
        conditions.append("account_id = :account_id AND removed_at IS NULL")
        values["account_id"] = job_filter.account_id
    if job_filter.status is not None:
        conditions.append("status = :status")
        values["status"] = job_filter.status.value
    if job_filter.models is not None:
        conditions.append("model IN (SELECT value FROM json_each(:models))")
        values["models"] = dump_json(list(job_filter.models))
    if cursor is not None:
        conditions.append(f"seq {after} :position")
        values["position"] = _cursor_position(db, job_filter.account_id, cursor)
    rows = db.execute(
        f"SELECT * FROM jobs WHERE {' AND '.join(conditions) or 'TRUE'} ORDER BY seq {order} LIMIT :limit",
        values,
    ).fetchall()
    found = load_job_records(db, rows[:limit])
    return Page(items=found, cursor=found[-1].job.id if len(rows) > limit else None)


def _cursor_position(db: sqlite3.Connection, account_id: str | None, cursor: str) -> int:
    row = db.execute("SELECT seq, account_id FROM jobs WHERE id = ?", (cursor,)).fetchone()
    if row is None or account_id not in (None, row["account_id"]):
        raise InvalidRequest("This cursor is not known.", code="invalid_cursor", param="cursor")
    return int(row["seq"])


def list_unfinished_jobs(db: sqlite3.Connection) -> list[JobRecord]:
    return load_job_records(
        db, db.execute("SELECT * FROM jobs WHERE finished_at IS NULL ORDER BY seq").fetchall()
    )


def load_job_records(db: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> list[JobRecord]:
    """Jobs with their shards, in the order of the rows, in two queries however many they are."""
    jobs = [row_to_job(row) for row in rows]
    shards = _load_shards(db, [job.id for job in jobs])
    return [JobRecord(job=job, shards=shards[job.id]) for job in jobs]


def _load_shards(db: sqlite3.Connection, job_ids: Iterable[str]) -> dict[str, tuple[Shard, ...]]:
    rows = db.execute(
        "SELECT * FROM shards WHERE job_id IN (SELECT value FROM json_each(?)) ORDER BY job_id, position",
        (dump_json(list(job_ids)),),
    )
    shards = (row_to_shard(row) for row in rows)
    return {job_id: tuple(group) for job_id, group in groupby(shards, key=lambda shard: shard.job_id)}


def fail_job(db: sqlite3.Connection, job_id: str, error: JobError, now: datetime) -> JobRecord:
    return _fail_or_cancel_job(db, job_id, JobStatus.FAILED, now, error)


def cancel_job(db: sqlite3.Connection, job_id: str, now: datetime) -> JobRecord:
    return _fail_or_cancel_job(db, job_id, JobStatus.CANCELLED, now)


def _fail_or_cancel_job(
    db: sqlite3.Connection, job_id: str, status: JobStatus, now: datetime, error: JobError | None = None
) -> JobRecord:
    """An unfinished job ends, its unfinished shards with it, and its hold is released."""
    record = require_job(db, job_id)
    if record.job.is_finished:
        return record
    job = record.job.transition_to(status, finished_at=now, error=error)
    update_job(db, job)
    for shard in record.shards:
        if shard.status in (ShardStatus.WAITING, ShardStatus.RUNNING):
            ended = shard.transition_to(ShardStatus(status.value))
            update_row(db, "shards", shard.id, {"status": ended.status.value})
    wallet.capture_hold(db, job_id, 0, now)
    outbox.add_job_message(db, job, now)
    return require_job(db, job_id)


def remove_job(db: sqlite3.Connection, job_id: str, now: datetime) -> list[str]:
    """Once removed, it stays as it was removed first. Raises NotFound."""
    if require_job(db, job_id).job.removed_at is None:
        update_row(db, "jobs", job_id, {"removed_at": format_time(now)})
    return detach_job_files(db, job_id)


def count_unfinished_jobs(db: sqlite3.Connection, account_id: str) -> int:
    query = "SELECT count(*) FROM jobs WHERE account_id = ? AND finished_at IS NULL"
    return int(db.execute(query, (account_id,)).fetchone()[0])


def update_job(db: sqlite3.Connection, job: Job) -> None:
    """Write what may change of a job."""
    update_row(db, "jobs", job.id, job_status_to_row(job))

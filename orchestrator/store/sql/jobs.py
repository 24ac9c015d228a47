"""Queries of jobs: pages, unfinished jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby

from orchestrator.errors import InvalidRequest
from orchestrator.jobs import JobRecord, JobStatus, Shard
from orchestrator.store.sql.database import Database, Row
from orchestrator.store.sql.rows import format_time, row_to_job, row_to_shard
from orchestrator.store.values import INVALID_CURSOR_MESSAGE, JobFilter, Page

#: Literal, so that the planner sees which indexes of unfinished, failed and cancelled jobs have all of these.
_STATUS_CONDITIONS = {
    JobStatus.QUEUED: "status = 'queued' AND finished_at IS NULL",
    JobStatus.RUNNING: "status = 'running' AND finished_at IS NULL",
    JobStatus.SUCCEEDED: "status = 'succeeded'",
    JobStatus.FAILED: "status = 'failed'",
    JobStatus.CANCELLED: "status = 'cancelled'",
}


def is_search(job_filter: JobFilter) -> bool:
    """Whether a page may need a look at all jobs of an account, or of all accounts."""
    searched = (job_filter.models, job_filter.key_id, job_filter.instance_id)
    times = (job_filter.created_from, job_filter.created_before)
    return bool(job_filter.words) or any(value is not None for value in (*searched, *times))


def list_jobs(db: Database, job_filter: JobFilter, limit: int, cursor: str | None) -> Page[JobRecord]:
    """Return one page of jobs. Raises InvalidRequest for an unknown cursor."""
    after, order = (">", "ASC") if job_filter.oldest_first else ("<", "DESC")
    conditions = []
    values: dict[str, object] = {"limit": limit + 1}
    if job_filter.account_id is not None:
        removed = "" if job_filter.includes_removed else " AND removed_at IS NULL"
        conditions.append(f"account_id = :account_id{removed}")
        values["account_id"] = job_filter.account_id
    if job_filter.status is not None:
        conditions.append(_STATUS_CONDITIONS[job_filter.status])
    if job_filter.models is not None:
        columns = (db.is_in(column, ":models") for column in ("model", "requested_model"))
        conditions.append(f"({' OR '.join(columns)})")
        values["models"] = db.list_value(job_filter.models)
    _select_by_prompt_and_time(job_filter, conditions, values)
    _select_for_operators(job_filter, conditions, values)
    if cursor is not None:
        conditions.append(f"seq {after} :position")
        values["position"] = _cursor_position(db, job_filter.account_id, cursor)
    rows = db.execute(
        f"SELECT * FROM jobs WHERE {' AND '.join(conditions) or 'TRUE'} ORDER BY seq {order} LIMIT :limit",
        values,
    ).fetchall()
    found = load_job_records(db, rows[:limit])
    return Page(items=found, cursor=found[-1].job.id if len(rows) > limit else None)


def _select_by_prompt_and_time(
    job_filter: JobFilter, conditions: list[str], values: dict[str, object]
) -> None:
    for number, word in enumerate(job_filter.words):
        name = f"word{'_' * number}"  # names have no digits
        conditions.append(f"lower(params ->> 'prompt') LIKE :{name} ESCAPE '!'")
        literal = word.replace("!", "!!").replace("%", "!%").replace("_", "!_")
        values[name] = f"%{literal.lower()}%"
    for moment_name, sign in (("created_from", ">="), ("created_before", "<")):
        moment: datetime | None = getattr(job_filter, moment_name)
        if moment is not None:
            conditions.append(f"created_at {sign} :{moment_name}")
            values[moment_name] = format_time(moment.astimezone(UTC))


def _select_for_operators(job_filter: JobFilter, conditions: list[str], values: dict[str, object]) -> None:
    """Add the conditions by which operators look for jobs."""
    if job_filter.key_id is not None:
        conditions.append("key_id = :key_id")
        values["key_id"] = job_filter.key_id
    if job_filter.error_code is not None:
        conditions.append("status = 'failed' AND error_code = :error_code")
        values["error_code"] = job_filter.error_code
    if job_filter.is_unfinished:
        conditions.append("finished_at IS NULL")
    if job_filter.instance_id is not None:
        conditions.append(
            """EXISTS (SELECT 1 FROM shards JOIN attempts ON shard_id = shards.id
            WHERE job_id = jobs.id AND instance_id = :instance_id)"""
        )
        values["instance_id"] = job_filter.instance_id


def _cursor_position(db: Database, account_id: str | None, cursor: str) -> int:
    row = db.execute("SELECT seq, account_id FROM jobs WHERE id = ?", (cursor,)).fetchone()
    if row is None or account_id not in (None, row["account_id"]):
        raise InvalidRequest(INVALID_CURSOR_MESSAGE, code="invalid_cursor", param="cursor")
    return int(row["seq"])


def find_job(db: Database, condition: str, *values: str) -> JobRecord | None:
    """Return the job that fulfils a condition, which comes from this package."""
    with db.batch():
        job = db.execute(f"SELECT * FROM jobs WHERE {condition}", values)
        shards = db.execute(
            f"""SELECT * FROM shards WHERE job_id = (SELECT id FROM jobs WHERE {condition})
            ORDER BY position""",
            values,
        )
    row = job.fetchone()
    return None if row is None else JobRecord(job=row_to_job(row), shards=tuple(map(row_to_shard, shards)))


def list_unfinished_jobs(db: Database) -> list[JobRecord]:
    return load_job_records(
        db, db.execute("SELECT * FROM jobs WHERE finished_at IS NULL ORDER BY seq").fetchall()
    )


def list_newest_unfinished(db: Database, limit: int) -> list[str]:
    query = "SELECT id FROM jobs WHERE finished_at IS NULL ORDER BY seq DESC LIMIT ?"
    return [str(row["id"]) for row in db.execute(query, (limit,))]


def find_finished(db: Database, job_ids: Sequence[str]) -> list[str]:
    query = f"SELECT id FROM jobs WHERE {db.is_in('id')} AND finished_at IS NOT NULL"
    return [str(row["id"]) for row in db.execute(query, (db.list_value(job_ids),))]


def load_job_records(db: Database, rows: Sequence[Row]) -> list[JobRecord]:
    """Return the jobs of these rows with their shards, in the same order; one query loads all shards."""
    jobs = [row_to_job(row) for row in rows]
    shards = _load_shards(db, [job.id for job in jobs])
    return [JobRecord(job=job, shards=shards[job.id]) for job in jobs]


def _load_shards(db: Database, job_ids: Iterable[str]) -> dict[str, tuple[Shard, ...]]:
    rows = db.execute(
        f"SELECT * FROM shards WHERE {db.is_in('job_id')} ORDER BY job_id, position",
        (db.list_value(job_ids),),
    )
    shards = (row_to_shard(row) for row in rows)
    return {job_id: tuple(group) for job_id, group in groupby(shards, key=lambda shard: shard.job_id)}


def count_unfinished_jobs(db: Database, account_id: str) -> int:
    query = "SELECT count(*) AS number FROM jobs WHERE account_id = ? AND finished_at IS NULL"
    return int(db.execute(query, (account_id,)).fetchone()["number"])

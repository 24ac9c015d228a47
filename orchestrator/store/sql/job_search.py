"""Queries by which operators look for jobs and failures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.jobs import Attempt, JobRecord, JobStatus
from orchestrator.store.job_search import Backlog, FailedAttempt, FailurePosition, ModelOutcomes
from orchestrator.store.sql.access import SqlAccess
from orchestrator.store.sql.database import Database
from orchestrator.store.sql.jobs import is_search, list_jobs
from orchestrator.store.sql.rows import format_time, parse_optional_time, parse_time, row_to_attempt
from orchestrator.store.values import JobFilter, Page

#: Ends that are no failures.
_FAILED = "outcome <> 'ok' AND outcome NOT IN ('cancelled', 'abandoned')"


def list_attempts(db: Database, job_id: str) -> list[Attempt]:
    rows = db.execute(
        """SELECT attempts.* FROM attempts JOIN shards ON shards.id = shard_id
        WHERE job_id = ? ORDER BY position, number""",
        (job_id,),
    )
    return [row_to_attempt(row) for row in rows]


def list_instances_of(db: Database, job_ids: Sequence[str]) -> dict[str, list[str]]:
    rows = db.execute(
        f"""SELECT job_id, instance_id, min(started_at) AS first FROM attempts
        JOIN shards ON shards.id = shard_id WHERE {db.is_in("job_id")}
        GROUP BY job_id, instance_id ORDER BY first, instance_id""",
        (db.list_value(job_ids),),
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["job_id"], []).append(row["instance_id"])
    return found


def list_failed_attempts(db: Database, limit: int, before: FailurePosition | None) -> list[FailedAttempt]:
    condition, values = "", tuple[str, ...]()
    if before is not None:
        condition, values = "AND (ended_at, prompt_id) < (?, ?)", (format_time(before[0]), before[1])
    rows = db.execute(
        f"""SELECT attempts.*, account_id, model, jobs.status AS job_status FROM attempts
        JOIN shards ON shards.id = shard_id JOIN jobs ON jobs.id = job_id
        WHERE {_FAILED} {condition} ORDER BY ended_at DESC, prompt_id DESC LIMIT ?""",
        (*values, limit),
    )
    return [
        FailedAttempt(
            attempt=row_to_attempt(row),
            account_id=row["account_id"],
            model=row["model"],
            status=JobStatus(row["job_status"]),
        )
        for row in rows
    ]


def count_failures(db: Database, since: datetime) -> int:
    query = f"SELECT count(*) AS number FROM attempts WHERE {_FAILED} AND ended_at >= ?"
    return int(db.execute(query, (format_time(since),)).fetchone()["number"])


def count_outcomes(db: Database, latest: int) -> list[ModelOutcomes]:
    rows = db.execute(
        """SELECT model, sum(CASE status WHEN 'succeeded' THEN 1 ELSE 0 END) AS succeeded,
            sum(CASE status WHEN 'failed' THEN 1 ELSE 0 END) AS failed,
            sum(CASE status WHEN 'cancelled' THEN 1 ELSE 0 END) AS cancelled
        FROM (SELECT model, status FROM jobs ORDER BY seq DESC LIMIT ?) AS latest
        GROUP BY model ORDER BY model""",
        (latest,),
    )
    return [
        ModelOutcomes(
            model=row["model"],
            succeeded=int(row["succeeded"]),
            failed=int(row["failed"]),
            cancelled=int(row["cancelled"]),
        )
        for row in rows
    ]


def read_backlog(db: Database, now: datetime) -> Backlog:
    due = db.execute(
        "SELECT count(*) AS number, min(due_at) AS oldest FROM outbox WHERE due_at IS NOT NULL AND due_at"
        " <= ?",
        (format_time(now),),
    ).fetchone()
    job = db.execute("SELECT created_at FROM jobs WHERE finished_at IS NULL ORDER BY seq LIMIT 1").fetchone()
    return Backlog(
        webhooks_due=int(due["number"]),
        oldest_webhook=parse_optional_time(due["oldest"]),
        oldest_job=None if job is None else parse_time(job["created_at"]),
    )


def list_old_unfinished(db: Database, before: datetime, limit: int) -> list[str]:
    query = "SELECT id FROM jobs WHERE finished_at IS NULL AND created_at < ? ORDER BY seq LIMIT ?"
    return [str(row["id"]) for row in db.execute(query, (format_time(before), limit))]


class SqlJobSearch(SqlAccess):
    """Implements `orchestrator.store.job_search.JobSearchStore`."""

    async def search_jobs(
        self, job_filter: JobFilter, limit: int = 50, cursor: str | None = None
    ) -> Page[JobRecord]:
        read = self._db.read_long if is_search(job_filter) else self._db.read
        return await read(list_jobs, job_filter, limit, cursor)

    async def list_attempts(self, job_id: str) -> list[Attempt]:
        return await self._db.read(list_attempts, job_id)

    async def list_instances_of(self, job_ids: Sequence[str]) -> dict[str, list[str]]:
        return await self._db.read(list_instances_of, job_ids)

    async def list_failed_attempts(
        self, limit: int = 50, before: FailurePosition | None = None
    ) -> list[FailedAttempt]:
        return await self._db.read(list_failed_attempts, limit, before)

    async def count_failures(self, since: datetime) -> int:
        return await self._db.read(count_failures, since)

    async def read_backlog(self, now: datetime) -> Backlog:
        return await self._db.read(read_backlog, now)

    async def list_old_unfinished(self, before: datetime, limit: int) -> list[str]:
        return await self._db.read(list_old_unfinished, before, limit)

    async def count_outcomes(self, latest: int) -> list[ModelOutcomes]:
        return await self._db.read(count_outcomes, latest)

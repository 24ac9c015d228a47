"""Queries of undelivered responses, and of jobs whose parts do not belong together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.jobs import Attempt, Job, JobRecord
from orchestrator.store.sql.database import Database
from orchestrator.store.sql.jobs import load_job_records
from orchestrator.store.sql.rows import format_time, row_to_attempt
from pricing.ledger import held_account

#: Accounts that have more held than their unfinished jobs cost.
_SELECT_EXCESSIVE_HOLDERS = """
    SELECT accounts.id FROM accounts JOIN balances ON balances.account = ? || accounts.id
    WHERE micros > (
        SELECT coalesce(sum(price), 0) FROM jobs WHERE account_id = accounts.id AND finished_at IS NULL
    )
"""
_SELECT_OPEN_HOLDS = """
    SELECT job_id FROM entries JOIN jobs ON jobs.id = job_id
    WHERE entries.account_id = ? AND kind = 'hold' AND finished_at IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM entries AS settled
        WHERE settled.key IN ('capture:' || entries.job_id, 'release:' || entries.job_id)
    )
"""


def find_undelivered_jobs(db: Database, job: Job, since: datetime) -> list[JobRecord]:
    rows = db.execute(
        """SELECT * FROM jobs
        WHERE pending_response IS NOT NULL AND request_digest = ? AND account_id = ? AND key_id = ?
            AND created_at >= ? AND status NOT IN ('failed', 'cancelled') ORDER BY seq""",
        (job.request_digest, job.account_id, job.key_id, format_time(since)),
    )
    return load_job_records(db, rows.fetchall())


def list_unsent_results(db: Database, before: datetime) -> list[JobRecord]:
    rows = db.execute(
        """SELECT * FROM jobs
        WHERE pending_response = 'result' AND status = 'succeeded' AND finished_at < ? ORDER BY seq""",
        (format_time(before),),
    )
    return load_job_records(db, rows.fetchall())


def find_attempts(db: Database, prompt_ids: Sequence[str]) -> list[Attempt]:
    query = f"SELECT * FROM attempts WHERE {db.is_in('prompt_id')}"
    return [row_to_attempt(row) for row in db.execute(query, (db.list_value(prompt_ids),))]


def list_open_attempts_of(db: Database, job_id: str) -> list[Attempt]:
    query = """SELECT attempts.* FROM attempts JOIN shards ON shards.id = shard_id
        WHERE job_id = ? AND ended_at IS NULL"""
    return [row_to_attempt(row) for row in db.execute(query, (job_id,))]


def list_suspects(db: Database) -> list[str]:
    """Return the ids of jobs that may need to be mended: unfinished ones, and those with an open hold.

    Entries, whose number only grows, are looked at only for accounts that have the hold of a finished job.
    """
    suspects = [row["id"] for row in db.execute("SELECT id FROM jobs WHERE finished_at IS NULL ORDER BY seq")]
    for holder in db.execute(_SELECT_EXCESSIVE_HOLDERS, (held_account(""),)).fetchall():
        suspects += [row["job_id"] for row in db.execute(_SELECT_OPEN_HOLDS, (holder["id"],))]
    return suspects

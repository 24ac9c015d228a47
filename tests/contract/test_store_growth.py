"""What the service does all the time costs no more steps of SQLite when the store has many finished jobs."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.jobs import JobStatus
from orchestrator.store import file_operations, operations
from orchestrator.store.sql import attempts, files, job_search, jobs, repairs, usage, wallet
from orchestrator.store.sql.transaction import SqlTransaction
from orchestrator.store.sqlite.database import SqliteDatabase, connect
from orchestrator.store.values import JobFilter
from scripts.bench.grown_store import (
    JOB_INTERVAL,
    RESOLUTION,
    START_TIME,
    GrownStore,
    Look,
    measure,
    open_grown_store,
)

FEW, MANY = 1_000, 10_000
#: Longer searches of an index have some more steps. Reading all of the jobs would take ten times as many.
GROWTH = 1.5


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[GrownStore, GrownStore]:
    """Return a store with few finished jobs, and one with ten times as many."""
    directory = tmp_path_factory.mktemp("grown")
    return asyncio.run(make_store(directory / "few.db", FEW)), asyncio.run(
        make_store(directory / "many.db", MANY)
    )


async def make_store(path: Path, jobs_count: int) -> GrownStore:
    store, made = await open_grown_store(path, jobs_count)
    try:
        assert await store.audit_ledger() == []
    finally:
        await store.close()
    return made


def listed(limit: int = 20, cursor: str | None = None, **wanted: object) -> Look:
    """Return a look at a page of the account's jobs."""

    def look(db: SqliteDatabase, grown: GrownStore) -> object:
        job_filter = JobFilter(account_id=grown.account.id, **wanted)  # type: ignore[arg-type]
        return jobs.list_jobs(db, job_filter, limit, cursor)

    return look


def at(number: int) -> datetime:
    """Return when a job was accepted."""
    return START_TIME + timedelta(seconds=number * JOB_INTERVAL)


LOOKS: dict[str, Look] = {
    "first page of jobs": listed(),
    "page far behind": listed(cursor=f"job-{FEW // 2}"),
    "oldest jobs": listed(oldest_first=True),
    "one model": listed(models=["sdxl-1.0"]),
    "failed jobs, of which there are few": listed(limit=1, status=JobStatus.FAILED),
    "cancelled jobs, of which there are none": listed(status=JobStatus.CANCELLED),
    "queued jobs": listed(status=JobStatus.QUEUED),
    "running jobs": listed(status=JobStatus.RUNNING),
    "failed jobs with an unknown error": lambda db, _: jobs.list_jobs(db, JobFilter(error_code="x"), 1, None),
    "unfinished jobs of an operator": lambda db, _: jobs.list_jobs(
        db, JobFilter(is_unfinished=True), 20, None
    ),
    "failed attempts": lambda db, _: job_search.list_failed_attempts(db, 5, None),
    "failures of the last hour": lambda db, grown: job_search.count_failures(
        db, grown.ended_at - timedelta(hours=1)
    ),
    "outcomes": lambda db, _: job_search.count_outcomes(db, 500),
    "backlog": lambda db, grown: job_search.read_backlog(db, grown.ended_at),
    "stuck jobs": lambda db, grown: job_search.list_old_unfinished(db, grown.ended_at, 500),
    "balance": lambda db, grown: wallet.get_balance(db, grown.account.id),
    "newest entries": lambda db, grown: wallet.list_entries(db, grown.account.id, 20, None, False),
    "newest changes": lambda db, grown: wallet.list_entries(db, grown.account.id, 20, None, True),
    "usage of a day": lambda db, grown: usage.list_usage(db, at(0).date(), at(2880).date(), grown.account.id),
    "metered usage of a day": lambda db, _: usage.list_metered_usage(db, at(0).date(), at(2880).date()),
    "spending of a key": lambda db, grown: SqlTransaction(db).sum_key_spend(
        grown.key.id, grown.ended_at.date()
    ),
    "allowance": lambda db, grown: operations.remaining_allowance(SqlTransaction(db), grown.account.id),
    "jobs to continue": lambda db, _: jobs.list_unfinished_jobs(db),
    "attempts to continue": lambda db, _: attempts.list_open_attempts(db),
    "jobs that may need to be mended": lambda db, _: repairs.list_suspects(db),
    "results that were not sent": lambda db, grown: repairs.list_unsent_results(db, grown.ended_at),
    "deletions": lambda db, grown: files.list_due_deletions(db, grown.ended_at, 200),
    "expiry of nothing": lambda db, _: expire(db, at(0)),
    "expiry of the first files": lambda db, _: expire(db, at(50)),
    "expiry of all files": lambda db, grown: expire(db, grown.ended_at),
}


def expire(db: SqliteDatabase, before: datetime) -> list[str]:
    return file_operations.expire_files(SqlTransaction(db), before, 20, before)


@pytest.mark.parametrize("name", LOOKS)
def test_finished_jobs_cost_nothing(grown: tuple[GrownStore, GrownStore], name: str) -> None:
    few, many = (measure(one, LOOKS[name]).steps for one in grown)
    assert many <= GROWTH * few + 2 * RESOLUTION


def test_a_finished_job_with_an_open_hold_is_found_among_many(grown: tuple[GrownStore, GrownStore]) -> None:
    with closing(connect(grown[1].path)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "UPDATE balances SET micros = micros + 10000 WHERE account = ?", (f"held:{grown[1].account.id}",)
        )
        db.execute("DROP TRIGGER entries_are_never_removed")
        db.execute("DELETE FROM entries WHERE key = 'capture:job-5000'")
        assert repairs.list_suspects(db) == ["job-5000"]
        db.execute("ROLLBACK")


EARLIER_BALANCES: dict[str, tuple[Look, Look]] = {
    # Ids of holds are by two higher than the numbers of their jobs: this one is near the end of its block.
    "page of entries": (
        lambda db, grown: wallet.list_entries(db, grown.account.id, 20, "hold:job-8180", False),
        lambda db, grown: wallet.list_entries(db, grown.account.id, 20, None, False),
    ),
    "statement": (
        # From the first charge of a block.
        lambda db, grown: wallet.get_statement(db, grown.account.id, at(6_382), at(6_402)),
        lambda db, grown: wallet.get_statement(db, grown.account.id, at(9_980), grown.ended_at),
    ),
}


@pytest.mark.parametrize("name", EARLIER_BALANCES)
def test_entries_that_followed_cost_nothing(grown: tuple[GrownStore, GrownStore], name: str) -> None:
    earlier, newest = (measure(grown[1], look).steps for look in EARLIER_BALANCES[name])
    assert earlier <= GROWTH * newest + 2 * RESOLUTION

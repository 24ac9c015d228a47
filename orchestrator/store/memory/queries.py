"""Lists, pages and sums over the tables in memory."""

from __future__ import annotations

from datetime import date, datetime

from orchestrator.errors import InvalidRequest
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.store.memory.tables import MemoryTables
from orchestrator.store.values import INVALID_CURSOR_MESSAGE, EntryPage, JobFilter, Page, UsageRow
from pricing.costs import MeteredUsage
from pricing.ledger import EntryKind, balance_change
from pricing.statement import Statement


def list_jobs(tables: MemoryTables, job_filter: JobFilter, limit: int, cursor: str | None) -> Page[JobRecord]:
    """Return one page of jobs. Raises InvalidRequest for an unknown cursor."""
    ids = list(tables.jobs)
    if not job_filter.oldest_first:
        ids.reverse()
    if cursor is not None:
        job = tables.jobs.get(cursor)
        if job is None or job_filter.account_id not in (None, job.account_id):
            raise _invalid_cursor()
        ids = ids[ids.index(cursor) + 1 :]
    matching = [
        id
        for id in ids
        if _matches(tables.jobs[id], job_filter)
        and _matches_for_operators(tables, tables.jobs[id], job_filter)
    ]
    found = [tables.record(id) for id in matching[:limit]]
    return Page(items=found, cursor=found[-1].job.id if len(matching) > limit else None)


def _matches(job: Job, job_filter: JobFilter) -> bool:
    if job_filter.account_id is not None and (
        job.account_id != job_filter.account_id
        or (job.removed_at is not None and not job_filter.includes_removed)
    ):
        return False
    if job_filter.status is not None and job.status is not job_filter.status:
        return False
    if not _matches_prompt_and_time(job, job_filter):
        return False
    return job_filter.models is None or not {job.model, job.requested_model}.isdisjoint(job_filter.models)


def _matches_prompt_and_time(job: Job, job_filter: JobFilter) -> bool:
    prompt = str(job.params.get("prompt", "")).lower()
    if not all(word.lower() in prompt for word in job_filter.words):
        return False
    start, end = job_filter.created_from, job_filter.created_before
    return (start is None or job.created_at >= start) and (end is None or job.created_at < end)


def _matches_for_operators(tables: MemoryTables, job: Job, job_filter: JobFilter) -> bool:
    """Return whether a job is among those that an operator looks for."""
    if job_filter.key_id not in (None, job.key_id):
        return False
    code = job.error.code if job.error is not None and job.status is JobStatus.FAILED else None
    if job_filter.error_code not in (None, code) or (job_filter.is_unfinished and job.is_finished):
        return False
    if job_filter.instance_id is None:
        return True
    shards = {shard.id for shard in tables.shards.get(job.id, ())}
    return any(
        attempt.shard_id in shards and attempt.instance_id == job_filter.instance_id
        for attempt in tables.attempts.values()
    )


def list_entries(
    tables: MemoryTables, account_id: str, limit: int, cursor: str | None, changes_only: bool
) -> EntryPage:
    """Return a page of entries, newest first. Raises InvalidRequest for an unknown cursor."""
    entries = [entry for entry in tables.entries.values() if entry.account_id == account_id]
    if cursor is not None:
        keys = [entry.key for entry in entries]
        if cursor not in keys:
            raise _invalid_cursor()
        entries = entries[: keys.index(cursor)]
    balance = sum(map(balance_change, entries))
    kinds = {EntryKind.HOLD, EntryKind.RELEASE} if changes_only else set()
    entries = [entry for entry in entries if entry.kind not in kinds]
    items = entries[::-1][:limit]
    return EntryPage(
        items=items,
        cursor=items[-1].key if len(entries) > limit else None,
        balance=balance,
        models={id: tables.jobs[id].shown_model for entry in items if (id := entry.job_id) is not None},
    )


def _invalid_cursor() -> InvalidRequest:
    return InvalidRequest(INVALID_CURSOR_MESSAGE, code="invalid_cursor", param="cursor")


def get_statement(tables: MemoryTables, account_id: str, since: datetime, until: datetime) -> Statement:
    """Return an account's entries of a period with the opening balance."""
    entries = [entry for entry in tables.entries.values() if entry.account_id == account_id]
    earlier = Statement(
        account_id=account_id,
        since=since,
        until=since,
        opening=0,
        entries=[entry for entry in entries if entry.at < since],
    )
    return Statement(
        account_id=account_id,
        since=since,
        until=until,
        opening=earlier.closing,
        entries=tuple(entry for entry in entries if since <= entry.at < until),
    )


def list_usage(
    tables: MemoryTables, since: date | None, until: date | None, account_id: str | None
) -> list[UsageRow]:
    """Return the daily totals of succeeded jobs, sorted by day, account, key and model."""
    return [
        row
        for key, row in sorted(tables.usage.items())
        if _is_between(row.day, since, until) and account_id in (None, row.account_id)
    ]


def list_metered_usage(tables: MemoryTables, since: date | None, until: date | None) -> list[MeteredUsage]:
    """Return the daily totals of metered work, sorted by day, model and device."""
    return [row for key, row in sorted(tables.metered.items()) if _is_between(row.day, since, until)]


def _is_between(day: date, since: date | None, until: date | None) -> bool:
    return (since or date.min) <= day < (until or date.max)

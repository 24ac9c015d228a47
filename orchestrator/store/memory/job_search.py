"""Looking for jobs and failures in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from orchestrator.jobs import Attempt, JobRecord, JobStatus
from orchestrator.store.job_search import Backlog, FailedAttempt, FailurePosition, ModelOutcomes
from orchestrator.store.memory import queries
from orchestrator.store.memory.tables import MemoryTables
from orchestrator.store.values import JobFilter, Page


class MemoryJobSearch:
    """Implements `orchestrator.store.job_search.JobSearchStore`."""

    _tables: MemoryTables

    async def search_jobs(
        self, job_filter: JobFilter, limit: int = 50, cursor: str | None = None
    ) -> Page[JobRecord]:
        return queries.list_jobs(self._tables, job_filter, limit, cursor)

    async def list_attempts(self, job_id: str) -> list[Attempt]:
        order = {shard.id: shard.index for shard in self._tables.shards.get(job_id, ())}
        attempts = (one for one in self._tables.attempts.values() if one.shard_id in order)
        return sorted(attempts, key=lambda one: (order[one.shard_id], one.number))

    async def list_instances_of(self, job_ids: Sequence[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in sorted(self._tables.attempts.values(), key=lambda one: (one.started_at, one.instance_id)):
            job_id = self._tables.job_of_shard[one.shard_id]
            if job_id in job_ids and one.instance_id not in found.setdefault(job_id, []):
                found[job_id].append(one.instance_id)
        return found

    async def list_failed_attempts(
        self, limit: int = 50, before: FailurePosition | None = None
    ) -> list[FailedAttempt]:
        failed = [
            (one.ended_at, one.prompt_id, one)
            for one in self._tables.attempts.values()
            if _has_failed(one)
            and one.ended_at is not None
            and (before is None or (one.ended_at, one.prompt_id) < before)
        ]
        latest = sorted(failed, key=lambda row: row[:2], reverse=True)[:limit]
        return [self._with_job(attempt) for _, _, attempt in latest]

    async def count_failures(self, since: datetime) -> int:
        return sum(
            _has_failed(one) and one.ended_at is not None and one.ended_at >= since
            for one in self._tables.attempts.values()
        )

    async def read_backlog(self, now: datetime) -> Backlog:
        moments = (message.due_at for message in self._tables.messages.values())
        due = [moment for moment in moments if moment is not None and moment <= now]
        unfinished = [job.created_at for job in self._tables.jobs.values() if job.finished_at is None]
        return Backlog(
            webhooks_due=len(due),
            oldest_webhook=min(due, default=None),
            oldest_job=unfinished[0] if unfinished else None,
        )

    async def list_old_unfinished(self, before: datetime, limit: int) -> list[str]:
        jobs = (job for job in self._tables.jobs.values() if job.finished_at is None)
        return [job.id for job in jobs if job.created_at < before][:limit]

    async def count_outcomes(self, latest: int) -> list[ModelOutcomes]:
        jobs = list(islice(reversed(self._tables.jobs.values()), latest))
        counts = Counter((job.model, job.status) for job in jobs)
        return [
            ModelOutcomes(
                model=model,
                succeeded=counts[model, JobStatus.SUCCEEDED],
                failed=counts[model, JobStatus.FAILED],
                cancelled=counts[model, JobStatus.CANCELLED],
            )
            for model in sorted({job.model for job in jobs})
        ]

    def _with_job(self, attempt: Attempt) -> FailedAttempt:
        job = self._tables.jobs[self._tables.job_of_shard[attempt.shard_id]]
        return FailedAttempt(attempt=attempt, account_id=job.account_id, model=job.model, status=job.status)


def _has_failed(attempt: Attempt) -> bool:
    return attempt.outcome not in (None, "ok", "cancelled", "abandoned")

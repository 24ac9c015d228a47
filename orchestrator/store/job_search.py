"""The part of the store's interface by which operators look for jobs and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.jobs import Attempt, JobRecord, JobStatus
from orchestrator.store.values import JobFilter, Page

#: When an attempt ended, and its prompt id: its place among the failures.
FailurePosition = tuple[datetime, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedAttempt:
    """An attempt that failed, with whose it was."""

    attempt: Attempt
    account_id: str
    model: str
    #: Status of its job now: most failed attempts are repeated.
    status: JobStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOutcomes:
    """How the latest jobs of a model ended."""

    model: str
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """What waits to be done."""

    #: Webhook messages that are due, and since when the oldest is.
    webhooks_due: int = 0
    oldest_webhook: datetime | None = None
    #: When the oldest unfinished job was accepted.
    oldest_job: datetime | None = None


class JobSearchStore(Protocol):
    """Jobs of all accounts, removed ones included."""

    async def search_jobs(
        self, job_filter: JobFilter, limit: int = 50, cursor: str | None = None
    ) -> Page[JobRecord]:
        """Return a page of jobs, newest first. The cursor is the id of the last job of a page."""
        ...

    async def list_attempts(self, job_id: str) -> list[Attempt]:
        """Return all attempts of a job's shards, by shard and number."""
        ...

    async def list_instances_of(self, job_ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return the instances that ran attempts of these jobs, by job, first ones first."""
        ...

    async def list_failed_attempts(
        self, limit: int = 50, before: FailurePosition | None = None
    ) -> list[FailedAttempt]:
        """Return attempts that failed before that one, latest first. Cancelled ones are no failures."""
        ...

    async def count_failures(self, since: datetime) -> int:
        """Return the number of attempts that failed since then."""
        ...

    async def read_backlog(self, now: datetime) -> Backlog:
        """Return what is late."""
        ...

    async def list_old_unfinished(self, before: datetime, limit: int) -> list[str]:
        """Return the ids of unfinished jobs that were accepted before then, oldest first."""
        ...

    async def count_outcomes(self, latest: int) -> Sequence[ModelOutcomes]:
        """Return how the finished ones of the latest jobs ended, by model."""
        ...

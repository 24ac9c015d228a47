"""Repeats a job that has failed or was cancelled, for operators: the same request as a new job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.errors import Conflict, ContentBlocked
from orchestrator.jobs import JobRecord, JobStatus, create_shards
from orchestrator.jobs.objects import is_job_object
from orchestrator.service import GenerationService


async def repeat_job(service: GenerationService, record: JobRecord) -> JobRecord:
    """Accept the request of a job again, at its price and with its files, seed and webhook.

    The new job belongs to the same account and key, and is charged if it succeeds. Raises Conflict if the job
    may not be repeated, InvalidRequest if its model is gone, InsufficientBalance, and ServiceUnavailable if a
    file of it was deleted.
    """
    job = record.job
    if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
        raise Conflict(
            f"Job {job.id} is {job.status}; only failed and cancelled jobs are repeated",
            code="not_repeatable",
        )
    if job.error is not None and job.error.code == ContentBlocked.default_code:
        raise Conflict(f"Job {job.id} violates the content policy", code="not_repeatable")
    service.get_model(job)
    repeated = replace(
        job,
        id=service.new_job_id(),
        status=JobStatus.QUEUED,
        created_at=service.clock(),
        started_at=None,
        finished_at=None,
        error=None,
        idempotency_key=None,
        request_digest=None,
        removed_at=None,
        pending_response=None,
    )
    account = await service.store.resolve_account(job.account_id)
    await service.accounts.renew_allowance(account)
    shards = create_shards(repeated, len(record.shards))
    accepted, _ = await service.store.add_job(repeated, shards, list(dict.fromkeys(_objects_in(job.params))))
    service.dispatcher.schedule_job(accepted, service.accounts.get_plan(account))
    return accepted


def _objects_in(value: object) -> Iterator[str]:
    """Yield the keys of stored files in parameters."""
    if isinstance(value, str):
        if is_job_object(value):
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _objects_in(item)
    elif isinstance(value, Sequence):
        items: Sequence[Any] = value
        for item in items:
            yield from _objects_in(item)

"""Undelivered responses in memory, and jobs whose parts do not belong together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.jobs import Attempt, Job, JobRecord, JobStatus, PendingResponse
from orchestrator.store import repair_operations
from orchestrator.store.memory.tables import MemoryTables
from orchestrator.store.memory.transaction import MemoryTransaction

_UNCHARGED = (JobStatus.FAILED, JobStatus.CANCELLED)


class MemoryRepairs:
    """Implements `orchestrator.store.repairs.RepairStore`, where each method is described."""

    _tables: MemoryTables
    _tx: MemoryTransaction

    async def record_response(self, job_id: str, pending: PendingResponse | None) -> None:
        repair_operations.record_response(self._tx, job_id, pending)

    async def find_undelivered_jobs(self, job: Job, since: datetime) -> list[JobRecord]:
        same_request = (
            other
            for other in self._tables.jobs.values()
            if (other.account_id, other.key_id, other.request_digest)
            == (job.account_id, job.key_id, job.request_digest)
        )
        return [
            self._tables.record(other.id)
            for other in same_request
            if other.pending_response and other.created_at >= since and other.status not in _UNCHARGED
        ]

    async def list_unsent_results(self, before: datetime) -> list[JobRecord]:
        return [
            self._tables.record(job.id)
            for job in self._tables.jobs.values()
            if job.pending_response is PendingResponse.RESULT
            and job.status is JobStatus.SUCCEEDED
            and job.finished_at is not None
            and job.finished_at < before
        ]

    async def refund_unsent_result(self, job_id: str, now: datetime) -> JobRecord:
        return repair_operations.refund_unsent_result(self._tx, job_id, now)

    async def find_attempts(self, prompt_ids: Sequence[str]) -> list[Attempt]:
        attempts = self._tables.attempts
        return [attempts[prompt_id] for prompt_id in prompt_ids if prompt_id in attempts]

    async def list_defects(self) -> list[tuple[str, str]]:
        found = ((repair_operations.find_defect(self._tx, id), id) for id in self._tables.jobs)
        return [(defect, id) for defect, id in found if defect is not None]

    async def mend_job(self, job_id: str, now: datetime) -> JobRecord:
        return repair_operations.mend_job(self._tx, job_id, now)

"""The part of the store's interface that finds and mends what a crash or a failing disk left behind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from orchestrator.jobs import Attempt, Job, JobRecord, PendingResponse


class RepairStore(Protocol):
    """Undelivered responses, and jobs whose parts do not belong together."""

    async def record_response(self, job_id: str, pending: PendingResponse | None) -> None:
        """Record what the response about a job still has to bring; None once it was sent.

        Only a succeeded job can be `lost`. A job for which nothing is pending stays as it is.
        """
        ...

    async def find_undelivered_jobs(self, job: Job, since: datetime) -> list[JobRecord]:
        """Return jobs of the same key and request whose response is pending, oldest first.

        Jobs that were created before `since`, that failed or that were cancelled are left out.
        """
        ...

    async def list_unsent_results(self, before: datetime) -> list[JobRecord]:
        """Return jobs that succeeded before `before` and whose result is still pending, oldest first."""
        ...

    async def refund_unsent_result(self, job_id: str, now: datetime) -> JobRecord:
        """Refund what is left of the charge for a result that was never sent. A sent one is not refunded."""
        ...

    async def find_attempts(self, prompt_ids: Sequence[str]) -> list[Attempt]:
        """Return the attempts with these prompt ids, ended or not; unknown ids are left out."""
        ...

    async def list_defects(self) -> list[tuple[str, str]]:
        """Return (defect, job id) of every job that `mend_job` would change."""
        ...

    async def mend_job(self, job_id: str, now: datetime) -> JobRecord:
        """Make a job whole whose parts do not belong together; any other stays as it is."""
        ...

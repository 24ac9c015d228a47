"""Holds the first look at a new job for a moment: clients pause after a look that finds it unfinished."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress

from orchestrator.errors import ServiceUnavailable
from orchestrator.jobs import JobRecord
from orchestrator.web.protocols import JobService

_MAX_NEW = 4096


class FirstLooks:
    """Knows the jobs of this process that no request has looked at yet."""

    def __init__(self, service: JobService, seconds: float) -> None:
        """`seconds` is how long a first look is held at most."""
        self._service = service
        self._seconds = seconds
        self._new: OrderedDict[str, None] = OrderedDict()

    def expect(self, job_id: str) -> None:
        """Remember a new job."""
        self._new[job_id] = None
        while len(self._new) > _MAX_NEW:
            self._new.popitem(last=False)

    def forget(self, job_id: str) -> None:
        """Hold no look at a job, because its caller follows it otherwise."""
        self._new.pop(job_id, None)

    async def wait(self, record: JobRecord) -> JobRecord:
        """Return a job, and a new one once it is finished, or as it is when the time is over.

        Raises NotFound, Gone.
        """
        job = record.job
        if job.id not in self._new:
            return record
        del self._new[job.id]
        if job.is_finished:
            return record
        with suppress(TimeoutError, ServiceUnavailable):
            async with asyncio.timeout(self._seconds):
                return await self._service.wait_for_job(job.id)
        return await self._service.get_job(job.account_id, job.id)

"""Links to outputs at the service's own address, for dialects whose expired links are not found.

A presigned URL of S3 outlives its job, and S3 answers 403 after its end. A link names the job and carries a
code that only the service can make; whether it is still valid is looked up each time.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from orchestrator.errors import NotFound
from orchestrator.execution.result_links import OWN_READ_SECONDS, link_code
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.storage.object_store import ObjectStore

#: Path of all links.
ROOT = "/outputs/images"
_LINK = re.compile(ROOT + r"/\d{4}/\d{2}/\d{2}/([0-9a-f]{32})-([0-9a-f]{32})\.[a-z0-9]{1,16}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputLinks:
    """Makes and resolves links to the first output of a job."""

    secret: str = field(repr=False)
    #: How long after completion the output can be downloaded.
    lifetime: timedelta
    find_job: Callable[[str], Awaitable[JobRecord | None]]
    objects: ObjectStore
    clock: Callable[[], datetime]

    def path_of(self, record: JobRecord) -> str:
        """Return the path of the link to a job's first output."""
        job, extension = record.job, record.outputs[0].key.rpartition(".")[2]
        name = f"{job.id.removeprefix('job_')}-{self._code(job.id)}"
        return f"{ROOT}/{job.created_at:%Y/%m/%d}/{name}.{extension}"

    def seconds_left(self, job: Job) -> int:
        """Return for how many seconds the job's output can be downloaded; 0 if it cannot."""
        succeeded = job.status is JobStatus.SUCCEEDED and job.removed_at is None
        if not succeeded or job.finished_at is None:
            return 0
        return max(0, int((job.finished_at + self.lifetime - self.clock()).total_seconds()))

    async def find(self, path: str) -> JobRecord:
        """Return the job of a link. Raises NotFound, also for expired and forged links."""
        link = _LINK.fullmatch(path)
        job_id = f"job_{link[1]}" if link else ""
        if link and hmac.compare_digest(link[2], self._code(job_id)):
            record = await self.find_job(job_id)
            if record and record.outputs and self.seconds_left(record.job) and self.path_of(record) == path:
                return record
        hours = self.lifetime.total_seconds() / 3600
        raise NotFound(
            f"There is no output at this URL: files can be downloaded for {hours:g} hours",
            code="output_not_found",
        )

    async def presign_own(self, url: str) -> str | None:
        """Return a presigned URL of the output that a link leads to, or None if the URL is no such link."""
        if ROOT not in url:
            return None
        try:
            record = await self.find(urlsplit(url).path)
        except (NotFound, ValueError):
            return None
        return self.objects.presign(record.outputs[0].key, OWN_READ_SECONDS)

    def _code(self, job_id: str) -> str:
        return link_code(self.secret, f"link to the output of {job_id}")

"""Names of job statuses that most dialects have in common."""

from __future__ import annotations

from orchestrator.jobs import JobStatus

#: Cancelled jobs have no status of their own.
STATUS_NAMES = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "failed",
}

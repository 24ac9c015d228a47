"""Webhook payloads: a finished job in the format of the dialect that created it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.jobs import JobRecord
from orchestrator.store import WebhookMessage
from orchestrator.webhooks.sender import to_envelope

PayloadBuilder = Callable[[JobRecord], Mapping[str, Any]]


class JobFinder(Protocol):
    """Looks up jobs of any account."""

    async def find_job(self, job_id: str) -> JobRecord | None: ...


@dataclass(frozen=True, slots=True)
class WebhookPayloads:
    """Builds payloads at each delivery, so that the job is current and its presigned URLs are fresh."""

    jobs: JobFinder
    #: `data` of the Standard Webhooks envelope, for jobs of all other dialects.
    default: PayloadBuilder
    #: Complete bodies without an envelope, by dialect (the first part of `Job.origin`).
    by_dialect: Mapping[str, PayloadBuilder]

    async def build_payload(self, message: WebhookMessage) -> Mapping[str, Any]:
        """Return the body of a message; messages without a job, such as budget alerts, carry their own."""
        record = await self.jobs.find_job(message.job_id) if message.job_id else None
        if record is None:
            return to_envelope(message, message.payload)
        dialect, _, _ = (record.job.origin or "").partition("/")
        if dialect in self.by_dialect:
            return self.by_dialect[dialect](record)
        return to_envelope(message, self.default(record))

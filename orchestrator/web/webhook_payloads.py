"""Webhook payloads: a job in the format of the dialect that created it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from orchestrator.jobs import JobRecord
from orchestrator.store import WebhookMessage
from orchestrator.webhooks.sender import to_envelope

PayloadBuilder = Callable[[JobRecord], Mapping[str, Any]]
#: Returns the body of a message about an unfinished job, by its topic (`ProgressMessage`).
ProgressBuilder = Callable[[JobRecord, str], Mapping[str, Any]]
#: Returns further headers of a message about a job: of its body, and when it is sent.
HeaderBuilder = Callable[[JobRecord, bytes, datetime], Mapping[str, str]]


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
    #: Bodies of messages about unfinished jobs, by dialect.
    in_progress: Mapping[str, ProgressBuilder] = field(default_factory=dict)
    #: Headers beside those of the Standard Webhooks specification, by dialect.
    headers: Mapping[str, HeaderBuilder] = field(default_factory=dict)

    async def build_payload(self, message: WebhookMessage) -> Mapping[str, Any]:
        """Return the body of a message; messages without a job, such as budget alerts, carry their own."""
        record = await self._find_job(message)
        if record is None:
            return to_envelope(message, message.payload)
        dialect = _dialect_of(record)
        if message.job_id is None and dialect in self.in_progress:
            return self.in_progress[dialect](record, message.topic)
        if dialect in self.by_dialect:
            return self.by_dialect[dialect](record)
        return to_envelope(message, self.default(record))

    async def build_headers(self, message: WebhookMessage, body: bytes, now: datetime) -> Mapping[str, str]:
        """Return the headers that a dialect adds to those of the Standard Webhooks specification."""
        record = await self._find_job(message) if self.headers else None
        dialect = "" if record is None else _dialect_of(record)
        return self.headers[dialect](record, body, now) if record and dialect in self.headers else {}

    async def _find_job(self, message: WebhookMessage) -> JobRecord | None:
        """Return the job that a message is about; that of an unfinished one is in its payload."""
        job_id = message.job_id or message.payload.get("jobId")
        return await self.jobs.find_job(job_id) if isinstance(job_id, str) else None


def _dialect_of(record: JobRecord) -> str:
    return (record.job.origin or "").partition("/")[0]

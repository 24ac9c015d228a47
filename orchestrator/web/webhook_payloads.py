"""What webhooks say: a job's end in the words of the dialect that it was asked for in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.jobs import JobRecord
from orchestrator.store import Store, WebhookMessage
from orchestrator.webhooks.sender import to_envelope

PayloadBuilder = Callable[[JobRecord], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class WebhookPayloads:
    """Makes the body of a message at the moment of its delivery: job and URLs are as they are then."""

    store: Store
    #: What is said of jobs, inside the envelope that the specification recommends.
    default: PayloadBuilder
    #: Whole bodies, by the dialect that a job's origin begins with.
    by_dialect: Mapping[str, PayloadBuilder]

    async def build_payload(self, message: WebhookMessage) -> Mapping[str, Any]:
        record = await self.store.find_job(message.job_id) if message.job_id else None
        if record is None:
            return to_envelope(message, message.payload)
        dialect, _, _ = (record.job.origin or "").partition("/")
        if dialect in self.by_dialect:
            return self.by_dialect[dialect](record)
        return to_envelope(message, self.default(record))

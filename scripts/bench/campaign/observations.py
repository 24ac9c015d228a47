"""What a caller did and what it was told: the only thing about callers that the auditor knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """The last thing that a caller was told about its request."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"  #: a 4xx, or a 503 before any job existed
    LOST = "lost"  #: the connection broke before a response, and the caller cannot ask
    LEFT = "left"  #: the caller closed the connection itself
    STUCK = "stuck"  #: no end within the limit of an operation


@dataclass
class Observation:
    """One operation of one caller."""

    number: int
    kind: str
    account: int
    idempotency_key: str | None = None
    job_id: str | None = None
    outcome: Outcome = Outcome.STUCK
    #: HTTP status or error code of the last response.
    detail: str = ""
    #: URLs of outputs, or the number of inline images.
    urls: list[str] = field(default_factory=list)
    inline_images: int = 0
    expected_images: int = 0
    price_micros: int | None = None
    webhook: bool = False
    #: The caller deleted the finished job.
    deleted: bool = False
    #: Whether the caller was told of a job that it can ask for later, by an id or its own key.
    can_ask: bool = False
    sent_at: float = 0.0
    ended_at: float = 0.0

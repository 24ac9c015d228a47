"""Values of the store's interface: pages, webhook messages and delivery attempts.

Accounts, keys and usage totals are defined in `orchestrator.billing.values` and re-exported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from orchestrator.billing.values import Account, ApiKey, ApiKeyLimits, ApiKeyScope, AuditViolation, UsageRow
from orchestrator.errors import InvalidRequest
from orchestrator.jobs import JobStatus
from pricing.ledger import LedgerEntry

__all__ = [
    "INVALID_CURSOR_MESSAGE",
    "Account",
    "ApiKey",
    "ApiKeyLimits",
    "ApiKeyScope",
    "AuditViolation",
    "Claim",
    "DeliveryAttempt",
    "DueReceiver",
    "EntryPage",
    "JobFilter",
    "MessageReceiver",
    "Page",
    "UsageRow",
    "WebhookMessage",
    "event_position",
]

Item = TypeVar("Item")

INVALID_CURSOR_MESSAGE = "`cursor` is unknown; pass the cursor of an earlier page of the same list."


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[Item]):
    """One page of a list, and the cursor of the next page."""

    items: Sequence[Item]
    #: Pass it to get the next page; None on the last one.
    cursor: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryPage(Page[LedgerEntry]):
    """A page of an account's ledger, with what a reader needs to follow it."""

    #: Available plus held balance after the newest entry of the page.
    balance: int = 0
    #: The models of the jobs of the entries, under the names that their callers used.
    models: Mapping[str, str] = field(default_factory=dict)


def event_position(cursor: str | None) -> int | None:
    """Return the id of the event that a cursor names. Raises InvalidRequest."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidRequest(INVALID_CURSOR_MESSAGE, code="invalid_cursor", param="cursor")
    return int(cursor)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFilter:
    """Which jobs to list and in which order; None selects all."""

    account_id: str | None = None
    status: JobStatus | None = None
    models: Sequence[str] | None = None
    oldest_first: bool = False
    #: Texts that the prompt contains, in upper or lower case.
    words: Sequence[str] = ()
    #: Times of acceptance: from the first, before the second.
    created_from: datetime | None = None
    created_before: datetime | None = None
    #: For operators: the key of the request, the code of its error, and an instance that ran an attempt.
    key_id: str | None = None
    error_code: str | None = None
    instance_id: str | None = None
    #: Whether jobs that their caller has removed are listed.
    includes_removed: bool = False
    #: Whether only unfinished jobs are.
    is_unfinished: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryAttempt:
    """One attempt to deliver a webhook message."""

    message_id: int
    at: datetime
    #: Duration of the request.
    seconds: float
    #: Status of the receiver's response; None if there was no response.
    http_status: int | None = None
    #: Why the delivery failed; None if it succeeded.
    error: str | None = None


@dataclass(frozen=True, order=True, slots=True)
class MessageReceiver:
    """A server to which an account has its webhook messages sent."""

    account_id: str
    #: `host:port`.
    host: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DueReceiver:
    """A receiver with messages that are due."""

    receiver: MessageReceiver
    #: Since when its oldest message is due.
    due_at: datetime
    #: Number of messages that are due.
    count: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one sender to deliver a message, until another one may have it."""

    #: Unique id of the sender.
    sender: str
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookMessage:
    """A webhook message in the outbox, and the state of its delivery."""

    id: int
    account_id: str
    #: Event name, such as `budget.alert` or `job.succeeded`.
    topic: str
    payload: Mapping[str, Any]
    #: Receiver; None if the message is only listed.
    url: str | None
    created_at: datetime
    #: Time of the next delivery attempt; None if there will be none.
    due_at: datetime | None
    #: Number of delivery attempts since the message was created or replayed; the next delay depends on it.
    attempts: int = 0
    #: Number of all attempts, also of those before a replay.
    total_attempts: int = 0
    delivered_at: datetime | None = None
    #: Error of the last attempt; None if it succeeded.
    error: str | None = None
    #: Id of the finished job, for `job.*` messages.
    job_id: str | None = None
    #: All attempts, oldest first; loaded for single messages only, not for lists.
    delivery_attempts: Sequence[DeliveryAttempt] = ()

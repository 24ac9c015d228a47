"""What the store keeps besides jobs and ledger entries: accounts, keys, pages and totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A customer: one wallet, one plan, any number of keys."""

    id: str
    name: str
    plan: str
    created_at: datetime
    #: From which its billing months are counted.
    plan_since: datetime


class ApiKeyScope(StrEnum):
    """What a key may be used for."""

    GENERATE = "generate"  #: submit and cancel jobs
    READ = "read"  #: look at jobs and their outputs
    BILLING = "billing"  #: look at balance, ledger and usage


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKeyLimits:
    """What the owner of a key lets it do; by default everything that the account may."""

    scopes: frozenset[ApiKeyScope] = frozenset(ApiKeyScope)
    #: Ids of the only models it may ask for; None: all.
    models: frozenset[str] | None = None
    expires_at: datetime | None = None
    #: Micro-dollars per day and calendar month (UTC); None: as much as the wallet holds.
    day_cap: int | None = None
    month_cap: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """An API key, without its secret."""

    id: str
    account: Account
    #: SHA-256 of the key, hexadecimal.
    digest: str
    #: The first characters, by which its owner knows it.
    prefix: str
    name: str
    created_at: datetime
    revoked_at: datetime | None = None
    limits: ApiKeyLimits = ApiKeyLimits()

    @property
    def is_revoked(self) -> bool:
        return self.revoked_at is not None

    def is_expired(self, now: datetime) -> bool:
        return self.limits.expires_at is not None and self.limits.expires_at <= now

    def is_usable(self, now: datetime) -> bool:
        return not self.is_revoked and not self.is_expired(now)

    def has_scope(self, scope: ApiKeyScope) -> bool:
        return scope in self.limits.scopes

    def can_use_model(self, model: str) -> bool:
        return self.limits.models is None or model in self.limits.models


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[Item]):
    """Some items, newest first, and where the older ones begin."""

    items: Sequence[Item]
    #: Pass it to get the next page; None on the last one.
    cursor: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageRow:
    """What an account's finished jobs of one day (UTC), key and model came to."""

    day: date
    account_id: str
    key_id: str
    model: str
    #: True where an instance was a simulator.
    simulated: bool
    jobs: int
    outputs: int
    #: Micro-dollars captured.
    micros: int
    gpu_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditViolation:
    """A rule of the books that does not hold."""

    #: One word: the rule.
    rule: str
    #: The job, account or table at fault.
    subject: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryAttempt:
    """One try to deliver a message."""

    message_id: int
    at: datetime
    #: How long it took.
    seconds: float
    #: What the receiver answered; None where no answer came.
    http_status: int | None = None
    #: Why it failed; None: the receiver took it.
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookMessage:
    """A word for the outside, kept until it is delivered."""

    id: int
    account_id: str
    #: What it is about, such as `budget.alert`.
    topic: str
    payload: Mapping[str, Any]
    #: Where it goes; None: it is only listed.
    url: str | None
    created_at: datetime
    #: When to try next; None: not any more.
    due_at: datetime | None
    #: Number of deliveries tried.
    attempts: int = 0
    delivered_at: datetime | None = None
    #: What went wrong the last time.
    error: str | None = None
    #: The job whose end it tells of.
    job_id: str | None = None
    #: Each try to deliver it, oldest first; known of a message that is asked for by itself.
    delivery_attempts: Sequence[DeliveryAttempt] = ()

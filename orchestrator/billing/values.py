"""Accounts, API keys and usage totals as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A customer with one wallet, one plan and any number of API keys."""

    id: str
    name: str
    plan: str
    created_at: datetime
    #: Start of the first billing month on the current plan; later months begin on the same day.
    plan_since: datetime


class ApiKeyScope(StrEnum):
    """A group of operations that an API key allows."""

    GENERATE = "generate"  #: submit and cancel jobs
    READ = "read"  #: read jobs and their outputs
    BILLING = "billing"  #: read balance, ledger and usage
    PUBLISH = "publish"  #: publish models; not among the default scopes
    GRAPHS = "graphs"  #: run own ComfyUI graphs, with the files for them; not among the default scopes


#: The scopes of a key for which none are chosen: what every caller needs.
DEFAULT_SCOPES = frozenset({ApiKeyScope.GENERATE, ApiKeyScope.READ, ApiKeyScope.BILLING})


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKeyLimits:
    """Restrictions of an API key; by default it may do everything that its account may."""

    scopes: frozenset[ApiKeyScope] = DEFAULT_SCOPES
    #: Ids of the models that the key may use; None for all.
    models: frozenset[str] | None = None
    expires_at: datetime | None = None
    #: Spend caps in micro-dollars per day and calendar month (UTC); None for no cap.
    day_cap: int | None = None
    month_cap: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """An API key without its secret."""

    id: str
    account: Account
    #: SHA-256 of the secret, hexadecimal.
    digest: str
    #: First characters of the secret, for display.
    prefix: str
    name: str
    created_at: datetime
    revoked_at: datetime | None = None
    limits: ApiKeyLimits = ApiKeyLimits()
    #: Id of the first key in a chain of rotations; None for a key that replaces no other. What all keys of a
    #: chain spend counts towards their caps.
    first_key_id: str | None = None

    @property
    def chain_id(self) -> str:
        """The same for all keys of a chain of rotations."""
        return self.first_key_id or self.id

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
class UsageRow:
    """Totals of the succeeded jobs of one day (UTC), account, API key and model."""

    day: date
    account_id: str
    key_id: str
    model: str
    #: Whether an instance was a simulator.
    simulated: bool
    jobs: int
    outputs: int
    #: Micro-dollars captured.
    micros: int
    gpu_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditViolation:
    """A ledger rule that does not hold."""

    #: Name of the rule, such as `balances_equal_entries`.
    rule: str
    #: Id of the job, account or table that violates it.
    subject: str
    detail: str

"""What the store keeps besides jobs and ledger entries: accounts, keys, pages and totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A customer: one wallet, one plan, any number of keys."""

    id: str
    name: str
    plan: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
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

    @property
    def revoked(self) -> bool:
        return self.revoked_at is not None


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
class Violation:
    """A rule of the books that does not hold."""

    #: One word: the rule.
    rule: str
    #: The job, account or table at fault.
    subject: str
    detail: str

"""The ledger as pure values: the entries that each operation books, and the sums of entries.

An entry moves an amount from one account to another, so all accounts always add up to zero. Entries are
never changed or removed. Each carries a key that may be booked once: a replay of an operation is the
same key again, and changes nothing.

    funding      negative: dollars paid in from outside        promotions   negative: given away by us
    wallet:ID    what an account may spend                     held:ID      put aside for its unfinished jobs
    revenue      earned by finished jobs

    credit   funding -> wallet        hold      wallet -> held
    grant    promotions -> wallet     capture   held -> revenue     (the rest of the hold: release)
    expire   wallet -> promotions     release   held -> wallet
    debit    wallet -> funding        refund    revenue -> wallet
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

FUNDING = "funding"
PROMOTIONS = "promotions"
REVENUE = "revenue"


def wallet_account(account_id: str) -> str:
    return f"wallet:{account_id}"


def held_account(account_id: str) -> str:
    return f"held:{account_id}"


class EntryKind(StrEnum):
    CREDIT = "credit"  #: paid in
    DEBIT = "debit"  #: paid back, or a correction downwards
    GRANT = "grant"  #: given: sign-up and plan credits
    EXPIRE = "expire"  #: what was given and not spent in time
    HOLD = "hold"  #: put aside for a job
    CAPTURE = "capture"  #: the job succeeded
    RELEASE = "release"  #: the job failed or was cancelled, or cost less than was held
    REFUND = "refund"  #: given back after a capture


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry:
    """One movement of money."""

    #: Booked at most once.
    key: str
    kind: EntryKind
    #: Account whose wallet changes.
    account_id: str
    #: Ledger accounts that are debited and credited.
    source: str
    target: str
    #: Always positive.
    micros: int
    at: datetime
    job_id: str | None = None
    #: The operator's or payment provider's name for it.
    reference: str | None = None

    def __post_init__(self) -> None:
        if self.micros <= 0:
            raise ValueError(f"{self.key}: an entry moves a positive amount, not {self.micros}")


@dataclass(frozen=True, slots=True)
class Balance:
    """The balance of a wallet in micro-dollars."""

    available: int
    held: int

    @property
    def total(self) -> int:
        return self.available + self.held


def balance_change(entry: LedgerEntry) -> int:
    """Return what an entry adds to the balance of its account; holds and releases add nothing."""
    mine = {wallet_account(entry.account_id), held_account(entry.account_id)}
    return entry.micros * ((entry.target in mine) - (entry.source in mine))


def credit_entry(account_id: str, micros: int, reference: str, at: datetime) -> LedgerEntry:
    return _external_entry(EntryKind.CREDIT, account_id, micros, reference, at)


def debit_entry(account_id: str, micros: int, reference: str, at: datetime) -> LedgerEntry:
    return _external_entry(EntryKind.DEBIT, account_id, micros, reference, at)


def grant_entry(account_id: str, micros: int, reference: str, at: datetime) -> LedgerEntry:
    return _external_entry(EntryKind.GRANT, account_id, micros, reference, at)


def expire_entry(account_id: str, micros: int, reference: str, at: datetime) -> LedgerEntry:
    return _external_entry(EntryKind.EXPIRE, account_id, micros, reference, at)


def hold_entry(account_id: str, job_id: str, micros: int, at: datetime) -> LedgerEntry:
    return _job_entry(EntryKind.HOLD, account_id, job_id, micros, at)


def capture_entries(hold: LedgerEntry, captured: int, at: datetime) -> list[LedgerEntry]:
    """Return the entries that capture part of a hold and release the rest. Raises ValueError beyond it."""
    if not 0 <= captured <= hold.micros:
        raise ValueError(f"{hold.key}: cannot capture {captured} of {hold.micros}")
    parts = ((EntryKind.CAPTURE, captured), (EntryKind.RELEASE, hold.micros - captured))
    job_id = str(hold.job_id)
    return [_job_entry(kind, hold.account_id, job_id, micros, at) for kind, micros in parts if micros]


def refund_entry(capture: LedgerEntry, micros: int, reference: str, at: datetime) -> LedgerEntry:
    """Return the entry of a refund. The caller checks that refunds stay within the capture."""
    return LedgerEntry(
        key=f"refund:{capture.job_id}:{reference}",
        kind=EntryKind.REFUND,
        account_id=capture.account_id,
        source=REVENUE,
        target=wallet_account(capture.account_id),
        micros=micros,
        at=at,
        job_id=capture.job_id,
        reference=reference,
    )


def sum_balances(entries: Iterable[LedgerEntry]) -> dict[str, int]:
    """Micro-dollars of every account that the entries touch. They add up to zero."""
    totals: Counter[str] = Counter()
    for entry in entries:
        totals[entry.source] -= entry.micros
        totals[entry.target] += entry.micros
    return dict(totals)


def _external_entry(
    kind: EntryKind, account_id: str, micros: int, reference: str, at: datetime
) -> LedgerEntry:
    mine = wallet_account(account_id)
    source, target = {
        EntryKind.CREDIT: (FUNDING, mine),
        EntryKind.DEBIT: (mine, FUNDING),
        EntryKind.GRANT: (PROMOTIONS, mine),
        EntryKind.EXPIRE: (mine, PROMOTIONS),
    }[kind]
    return LedgerEntry(
        key=f"{kind}:{account_id}:{reference}",
        kind=kind,
        account_id=account_id,
        source=source,
        target=target,
        micros=micros,
        at=at,
        reference=reference,
    )


def _job_entry(kind: EntryKind, account_id: str, job_id: str, micros: int, at: datetime) -> LedgerEntry:
    source, target = {
        EntryKind.HOLD: (wallet_account(account_id), held_account(account_id)),
        EntryKind.CAPTURE: (held_account(account_id), REVENUE),
        EntryKind.RELEASE: (held_account(account_id), wallet_account(account_id)),
    }[kind]
    return LedgerEntry(
        key=f"{kind}:{job_id}",
        kind=kind,
        account_id=account_id,
        source=source,
        target=target,
        micros=micros,
        at=at,
        job_id=job_id,
    )

"""Payments, grants, debits, refunds and monthly allowances. Pure rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.billing.changes import NO_CHANGES, AllowanceRenewal, Changes
from orchestrator.billing.ledger_rules import book_once
from orchestrator.billing.metering import meter_refund
from orchestrator.errors import Conflict, InsufficientBalance, InvalidRequest
from orchestrator.jobs import JobRecord
from pricing import ledger
from pricing.ledger import Balance, EntryKind, LedgerEntry
from pricing.money import format_usd, to_usd
from pricing.plans import unspent_allowance

#: Allowances are booked under `plan <start of the billing month>`. Stored: do not change the format.
_PLAN_REFERENCE_PREFIX = "plan "


def check_amount(micros: int) -> None:
    """Raise InvalidRequest unless the amount is positive."""
    if micros <= 0:
        raise InvalidRequest(
            f"`usd` must be more than $0 (got ${format_usd(micros)}).",
            code="invalid_amount",
            param="usd",
        )


def check_grant_reference(reference: str) -> None:
    """Raise InvalidRequest for a reference that is reserved for allowances."""
    if reference.startswith(_PLAN_REFERENCE_PREFIX):
        raise InvalidRequest(
            f"`reference` must not start with {_PLAN_REFERENCE_PREFIX!r} (got {reference!r}); "
            "such references are reserved for monthly allowances.",
            code="invalid_reference",
            param="reference",
        )


def debit(entry: LedgerEntry, earlier: LedgerEntry | None, balance: Balance) -> Changes:
    """Book a debit. Raises InsufficientBalance, and Conflict for a reused reference."""
    if earlier is None and balance.available < entry.micros:
        raise InsufficientBalance(
            f"Insufficient wallet balance: cannot debit ${format_usd(entry.micros)}, "
            f"only ${format_usd(balance.available)} is available.",
            details={"available_usd": to_usd(balance.available), "required_usd": to_usd(entry.micros)},
        )
    return book_once(entry, earlier)


@dataclass(frozen=True, kw_only=True, slots=True)
class RefundFacts:
    """A job, its charge and the refunds booked so far."""

    record: JobRecord
    capture: LedgerEntry | None
    #: Micro-dollars refunded so far, over all references.
    refunded: int
    #: Entry of an earlier refund with the same reference.
    earlier: LedgerEntry | None


def refund_key(job_id: str, reference: str) -> str:
    """Return the ledger key under which a refund is booked."""
    return f"{EntryKind.REFUND}:{job_id}:{reference}"


def refund(facts: RefundFacts, micros: int | None, reference: str, now: datetime) -> Changes:
    """Refund part of a job's charge, or all that is left of it if `micros` is None.

    The same reference again books nothing. Raises Conflict for an uncharged job or another amount under the
    same reference, InvalidRequest for more than is left.
    """
    job_id = facts.record.job.id
    if facts.capture is None:
        raise Conflict(f"Job {job_id!r} was not charged, so nothing can be refunded.", code="not_charged")
    if facts.earlier is not None:
        if micros is None:
            return NO_CHANGES
        check_amount(micros)
        return book_once(ledger.refund_entry(facts.capture, micros, reference, now), facts.earlier)
    left = facts.capture.micros - facts.refunded
    amount = left if micros is None else micros
    if not 0 < amount <= left:
        raise InvalidRequest(
            f"`usd` must be more than $0 and at most ${format_usd(left)}, which is left of the charge for "
            f"job {job_id!r} (got ${format_usd(amount)}).",
            code="invalid_amount",
            param="usd",
        )
    return Changes(
        entries=(ledger.refund_entry(facts.capture, amount, reference, now),),
        metered=(meter_refund(facts.record, amount, now.date()),),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class AllowanceFacts:
    """An account's balance and the allowance of its current billing month."""

    account_id: str
    balance: Balance
    #: Start of the current billing month; None before the first one.
    period_start: datetime | None
    #: Entry that granted its allowance; None if there was none.
    grant: LedgerEntry | None
    #: Charges of jobs since the grant, less refunds.
    net_charges: int


def allowance_reference(period_start: datetime) -> str:
    """Return the reference under which the allowance of a billing month is booked."""
    return f"{_PLAN_REFERENCE_PREFIX}{period_start.astimezone(UTC).isoformat(timespec='microseconds')}"


def allowance_key(account_id: str, period_start: datetime) -> str:
    """Return the ledger key of the grant that begins a billing month."""
    return f"{EntryKind.GRANT}:{account_id}:{allowance_reference(period_start)}"


def remaining_allowance(facts: AllowanceFacts) -> int:
    """Return the unspent micro-dollars of the current allowance."""
    if facts.grant is None:
        return 0
    return unspent_allowance(facts.grant.micros, facts.net_charges, facts.balance.available)


def renew_allowance(facts: AllowanceFacts, micros: int, period_start: datetime, now: datetime) -> Changes:
    """Expire what is left of the last allowance and grant `micros` (may be 0) for a new billing month.

    A period that does not begin after the current one changes nothing, so that repeated calls and a clock
    that was set back do no harm.
    """
    current = facts.period_start
    if current is not None and current >= period_start:
        return NO_CHANGES
    entries = []
    left = remaining_allowance(facts)
    if left and current is not None:
        entries.append(ledger.expire_entry(facts.account_id, left, allowance_reference(current), now))
    if micros:
        reference = allowance_reference(period_start)
        entries.append(ledger.grant_entry(facts.account_id, micros, reference, now))
    return Changes(entries=tuple(entries), renewal=AllowanceRenewal(facts.account_id, period_start))

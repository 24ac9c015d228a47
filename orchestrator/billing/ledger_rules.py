"""Booking rules of the ledger: every key is booked once, and a hold needs the available balance."""

from __future__ import annotations

from orchestrator.billing.changes import NO_CHANGES, Changes
from orchestrator.errors import Conflict, InsufficientBalance
from pricing.ledger import Balance, EntryKind, LedgerEntry, held_account, wallet_account
from pricing.money import MICROS_PER_DOLLAR, format_usd, to_usd


def hold_key(job_id: str) -> str:
    """Return the ledger key under which a job's hold is booked."""
    return f"{EntryKind.HOLD}:{job_id}"


def capture_key(job_id: str) -> str:
    """Return the ledger key under which a job's charge is booked."""
    return f"{EntryKind.CAPTURE}:{job_id}"


def release_key(job_id: str) -> str:
    """Return the ledger key under which a job's hold is released."""
    return f"{EntryKind.RELEASE}:{job_id}"


def book_once(entry: LedgerEntry, earlier: LedgerEntry | None) -> Changes:
    """Book `entry`, or nothing if `earlier` (the entry under the same key) moved the same amount.

    Raises Conflict if the amount differs.
    """
    if earlier is None:
        return Changes(entries=(entry,))
    if (earlier.source, earlier.target, earlier.micros) != (entry.source, entry.target, entry.micros):
        raise Conflict(
            f"`reference` {entry.reference!r} was already used for a {entry.kind} of "
            f"${format_usd(earlier.micros)}; this request is for ${format_usd(entry.micros)}. "
            "Repeat the same amount or use a new reference.",
            code="idempotency_conflict",
        )
    return NO_CHANGES


def check_available(balance: Balance, micros: int) -> None:
    """Raise InsufficientBalance if less than `micros` is available for a hold."""
    if balance.available < micros:
        raise InsufficientBalance(
            f"Insufficient wallet balance: this request costs ${format_usd(micros)}, "
            f"but only ${format_usd(balance.available)} is available. Add funds and retry.",
            details={
                "balance_usd": to_usd(balance.total),
                "held_usd": to_usd(balance.held),
                "available_usd": to_usd(balance.available),
                "required_usd": to_usd(micros),
            },
        )


def without_balance(error: InsufficientBalance) -> InsufficientBalance:
    """Return the error without the account's balance, for a key that may not read it.

    What its own spend cap allows a key may know.
    """
    if error.code != InsufficientBalance.default_code:
        return error
    required = error.details["required_usd"]
    return InsufficientBalance(
        f"Insufficient wallet balance: it does not cover the price of this request, "
        f"${format_usd(round(required * MICROS_PER_DOLLAR))}. Add funds and retry.",
        details={"required_usd": required},
    )


def balance_after(account_id: str, balance: Balance, changes: Changes) -> Balance:
    """Return the account's balance once the entries of `changes` are booked."""

    def change(ledger_account: str) -> int:
        return sum(
            entry.micros * ((entry.target == ledger_account) - (entry.source == ledger_account))
            for entry in changes.entries
        )

    return Balance(
        available=balance.available + change(wallet_account(account_id)),
        held=balance.held + change(held_account(account_id)),
    )

"""The ledger on disk: entries are inserted here and nowhere else; triggers keep the balances."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from orchestrator.errors import Conflict, InsufficientBalance, InvalidRequest
from orchestrator.store.sqlite.accounts import get_account
from orchestrator.store.sqlite.rows import entry_to_row, insert_row, row_to_entry
from orchestrator.store.values import Page
from pricing import ledger
from pricing.ledger import Balance, EntryKind, LedgerEntry
from pricing.money import format_usd, to_usd


def find_entry(db: sqlite3.Connection, key: str) -> LedgerEntry | None:
    """The entry with this key."""
    row = db.execute("SELECT * FROM entries WHERE key = ?", (key,)).fetchone()
    return None if row is None else row_to_entry(row)


def post_entry(db: sqlite3.Connection, entry: LedgerEntry) -> bool:
    """Book an entry once. False: it was booked before. Raises Conflict for the same key with other terms."""
    earlier = find_entry(db, entry.key)
    if earlier is None:
        insert_row(db, "entries", entry_to_row(entry))
        return True
    if (earlier.source, earlier.target, earlier.micros) != (entry.source, entry.target, entry.micros):
        raise Conflict(
            f"{entry.key!r} was booked before, as {format_usd(earlier.micros)} USD.",
            code="idempotency_conflict",
        )
    return False


def get_balance(db: sqlite3.Connection, account_id: str) -> Balance:
    """Raises NotFound."""
    get_account(db, account_id)
    available, held = ledger.wallet_account(account_id), ledger.held_account(account_id)
    rows = db.execute("SELECT account, micros FROM balances WHERE account IN (?, ?)", (available, held))
    found = {row["account"]: row["micros"] for row in rows}
    return Balance(available=found.get(available, 0), held=found.get(held, 0))


def place_hold(db: sqlite3.Connection, account_id: str, job_id: str, micros: int, now: datetime) -> None:
    """Put the price of a job aside; a job without a price has no hold. Raises InsufficientBalance."""
    have = get_balance(db, account_id)
    if have.available < micros:
        raise InsufficientBalance(
            f"Insufficient wallet balance: this costs ${format_usd(micros)}, "
            f"and ${format_usd(have.available)} is available.",
            details={
                "balance_usd": to_usd(have.total),
                "held_usd": to_usd(have.held),
                "available_usd": to_usd(have.available),
                "required_usd": to_usd(micros),
            },
        )
    if micros:
        post_entry(db, ledger.hold_entry(account_id, job_id, micros, now))


def capture_hold(db: sqlite3.Connection, job_id: str, captured: int, now: datetime) -> None:
    """Capture part or all of a job's hold and release the rest; without a hold there is nothing to do."""
    hold = find_entry(db, f"{EntryKind.HOLD}:{job_id}")
    if hold is not None:
        for entry in ledger.capture_entries(hold, captured, now):
            post_entry(db, entry)


def list_entries(
    db: sqlite3.Connection, account_id: str, limit: int, cursor: str | None
) -> Page[LedgerEntry]:
    """Newest first. Raises NotFound, and InvalidRequest for a cursor that was never given out."""
    get_account(db, account_id)
    before = _cursor_position(db, account_id, cursor)
    rows = db.execute(
        "SELECT * FROM entries WHERE account_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
        (account_id, before, limit + 1),
    ).fetchall()
    items = [row_to_entry(row) for row in rows[:limit]]
    return Page(items=items, cursor=items[-1].key if len(rows) > limit else None)


def _cursor_position(db: sqlite3.Connection, account_id: str, cursor: str | None) -> int:
    if cursor is None:
        return 2**63 - 1
    row = db.execute(
        "SELECT id FROM entries WHERE key = ? AND account_id = ?", (cursor, account_id)
    ).fetchone()
    if row is None:
        raise InvalidRequest("This cursor is not known.", code="invalid_cursor", param="cursor")
    return int(row["id"])

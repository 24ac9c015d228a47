"""Money outside of jobs: payments, corrections, refunds, the monthly allowance of a plan, statements."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from orchestrator.errors import Conflict, InsufficientBalance, InvalidRequest
from orchestrator.store.sqlite import alerts, usage, wallet
from orchestrator.store.sqlite.accounts import get_account
from orchestrator.store.sqlite.jobs import require_job
from orchestrator.store.sqlite.rows import format_time, row_to_entry, update_row
from pricing import ledger
from pricing.ledger import Balance, EntryKind, LedgerEntry
from pricing.money import format_usd, to_usd
from pricing.plans import unspent_allowance
from pricing.statement import Statement

#: Reference of the allowances that `renew_allowance` gives and takes back: `plan <start of the month>`.
_PLAN_REFERENCE_PREFIX = "plan "


def credit(db: sqlite3.Connection, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
    _require_positive(micros)
    get_account(db, account_id)
    return _post_and_check_alerts(db, ledger.credit_entry(account_id, micros, reference, now))


def grant(db: sqlite3.Connection, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
    _require_positive(micros)
    get_account(db, account_id)
    if reference.startswith(_PLAN_REFERENCE_PREFIX):
        raise InvalidRequest("This reference is kept for plans.", code="invalid_reference", param="reference")
    return _post_and_check_alerts(db, ledger.grant_entry(account_id, micros, reference, now))


def debit(db: sqlite3.Connection, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
    _require_positive(micros)
    entry = ledger.debit_entry(account_id, micros, reference, now)
    have = wallet.get_balance(db, account_id)
    if have.available < micros and not wallet.find_entry(db, entry.key):
        raise InsufficientBalance(
            f"Only ${format_usd(have.available)} of ${format_usd(micros)} is available.",
            details={"available_usd": to_usd(have.available), "required_usd": to_usd(micros)},
        )
    return _post_and_check_alerts(db, entry)


def refund(db: sqlite3.Connection, job_id: str, micros: int | None, reference: str, now: datetime) -> Balance:
    """Give back some, or all that is left, of what a job was charged. Raises NotFound and Conflict."""
    record = require_job(db, job_id)
    capture = wallet.find_entry(db, f"{EntryKind.CAPTURE}:{job_id}")
    if capture is None:
        raise Conflict(f"Job {job_id!r} was not charged.", code="not_charged")
    earlier = wallet.find_entry(db, f"{EntryKind.REFUND}:{job_id}:{reference}")
    if earlier is not None and micros is None:
        return wallet.get_balance(db, record.job.account_id)
    left = capture.micros - _refunded_micros(db, job_id)
    amount = left if micros is None else micros
    if earlier is None and not 0 < amount <= left:
        raise InvalidRequest(
            f"Between $0 and ${format_usd(left)} can be refunded.", code="invalid_amount", param="amount"
        )
    if earlier is None:
        usage.record_refund(db, record, amount, now)
    return _post_and_check_alerts(db, ledger.refund_entry(capture, amount, reference, now))


def renew_allowance(
    db: sqlite3.Connection, account_id: str, micros: int, period_start: datetime, now: datetime
) -> Balance:
    """Begin a billing month: what was not spent of the last allowance goes, `micros` come. Once per period.

    A period that is not later than the last one changes nothing, so a clock set back does no harm.
    """
    period = format_time(period_start)
    last = _current_period_start(db, account_id)
    if last is not None and last >= period:
        return wallet.get_balance(db, account_id)
    left = remaining_allowance(db, account_id)
    if left:
        wallet.post_entry(db, ledger.expire_entry(account_id, left, f"{_PLAN_REFERENCE_PREFIX}{last}", now))
    if micros:
        wallet.post_entry(
            db, ledger.grant_entry(account_id, micros, f"{_PLAN_REFERENCE_PREFIX}{period}", now)
        )
    update_row(db, "accounts", account_id, {"renewed": period})
    alerts.check_alerts(db, account_id, now)
    return wallet.get_balance(db, account_id)


def remaining_allowance(db: sqlite3.Connection, account_id: str) -> int:
    """Micro-dollars of this month's allowance that are not spent. Raises NotFound."""
    have = wallet.get_balance(db, account_id)
    reference = f"{_PLAN_REFERENCE_PREFIX}{_current_period_start(db, account_id)}"
    allowance = wallet.find_entry(db, f"{EntryKind.GRANT}:{account_id}:{reference}")
    return (
        0
        if allowance is None
        else unspent_allowance(allowance.micros, _net_charges_since(db, allowance), have.available)
    )


def get_statement(db: sqlite3.Connection, account_id: str, since: datetime, until: datetime) -> Statement:
    """Raises NotFound."""
    opening = _balance_total_at(db, account_id, since)
    rows = db.execute(
        "SELECT * FROM entries WHERE account_id = ? AND at >= ? AND at < ? ORDER BY id",
        (account_id, format_time(since), format_time(until)),
    )
    return Statement(
        account_id=account_id,
        since=since,
        until=until,
        opening=opening,
        entries=tuple(row_to_entry(row) for row in rows),
    )


def _post_and_check_alerts(db: sqlite3.Connection, entry: LedgerEntry) -> Balance:
    if wallet.post_entry(db, entry):
        alerts.check_alerts(db, entry.account_id, entry.at)
    return wallet.get_balance(db, entry.account_id)


def _require_positive(micros: int) -> None:
    if micros <= 0:
        raise InvalidRequest("An amount must be more than zero.", code="invalid_amount", param="amount")


def _refunded_micros(db: sqlite3.Connection, job_id: str) -> int:
    row = db.execute(
        "SELECT coalesce(sum(micros), 0) FROM entries WHERE job_id = ? AND kind = 'refund'", (job_id,)
    ).fetchone()
    return int(row[0])


def _current_period_start(db: sqlite3.Connection, account_id: str) -> str | None:
    """When the billing month began that the account is in."""
    row = db.execute("SELECT renewed FROM accounts WHERE id = ?", (account_id,)).fetchone()
    return row["renewed"] if row else None


def _net_charges_since(db: sqlite3.Connection, grant: LedgerEntry) -> int:
    """What jobs were charged since an allowance, less refunds."""
    row = db.execute(
        """SELECT coalesce(sum(CASE kind WHEN 'refund' THEN -micros ELSE micros END), 0)
        FROM entries
        WHERE account_id = ? AND kind IN ('capture', 'refund')
            AND id > (SELECT id FROM entries WHERE key = ?)""",
        (grant.account_id, grant.key),
    ).fetchone()
    return int(row[0])


def _balance_total_at(db: sqlite3.Connection, account_id: str, moment: datetime) -> int:
    """Counted back from today's balance, so that a late statement is as quick as an early one was."""
    mine = (ledger.wallet_account(account_id), ledger.held_account(account_id))
    row = db.execute(
        """SELECT coalesce(sum(micros * ((target IN (?, ?)) - (source IN (?, ?)))), 0)
        FROM entries WHERE account_id = ? AND at >= ?""",
        (*mine, *mine, account_id, format_time(moment)),
    ).fetchone()
    return wallet.get_balance(db, account_id).total - int(row[0])

"""Reading the ledger: entries, balances, statements. Triggers keep the balances equal to the entries."""

from __future__ import annotations

from datetime import datetime

from orchestrator.errors import InvalidRequest
from orchestrator.store.lookup import found
from orchestrator.store.sql.accounts import get_account
from orchestrator.store.sql.database import Database
from orchestrator.store.sql.rows import format_time, row_to_entry
from orchestrator.store.values import INVALID_CURSOR_MESSAGE, EntryPage
from pricing import ledger
from pricing.ledger import Balance, LedgerEntry
from pricing.statement import Statement

#: Ids of entries in a block of the table `entry_blocks`, which triggers fill.
BLOCK_SIZE = 8192
#: What the entries of an account have added to its balance.
CHANGE = """coalesce(sum(
    CASE WHEN target IN ('wallet:' || account_id, 'held:' || account_id) THEN micros ELSE 0 END
    - CASE WHEN source IN ('wallet:' || account_id, 'held:' || account_id) THEN micros ELSE 0 END
), 0)"""


def find_entry(db: Database, key: str) -> LedgerEntry | None:
    """Return the entry with this key."""
    row = db.execute("SELECT * FROM entries WHERE key = ?", (key,)).fetchone()
    return None if row is None else row_to_entry(row)


def get_balance(db: Database, account_id: str) -> Balance:
    """Return what an account has available and held. Raises NotFound."""
    available, held = ledger.wallet_account(account_id), ledger.held_account(account_id)
    row = db.execute(
        """SELECT (SELECT micros FROM balances WHERE account = ?) AS available,
            (SELECT micros FROM balances WHERE account = ?) AS held
        FROM accounts WHERE id = ?""",
        (available, held, account_id),
    ).fetchone()
    found(row, "account", account_id)
    return Balance(available=row["available"] or 0, held=row["held"] or 0)


def list_entries(
    db: Database, account_id: str, limit: int, cursor: str | None, changes_only: bool
) -> EntryPage:
    """Return a page of entries, newest first. Raises NotFound, and InvalidRequest for an unknown cursor."""
    get_account(db, account_id)
    before = None if cursor is None else _cursor_position(db, account_id, cursor)
    condition = "AND kind NOT IN ('hold', 'release')" if changes_only else ""
    rows = db.execute(
        f"SELECT * FROM entries WHERE account_id = ? AND id < ? {condition} ORDER BY id DESC LIMIT ?",
        (account_id, 2**63 - 1 if before is None else before, limit + 1),
    ).fetchall()
    items = [row_to_entry(row) for row in rows[:limit]]
    newer = 0 if before is None else _sum_from_id(db, account_id, before)
    return EntryPage(
        items=items,
        cursor=items[-1].key if len(rows) > limit else None,
        balance=get_balance(db, account_id).total - newer,
        models=_models_of(db, [entry.job_id for entry in items if entry.job_id is not None]),
    )


def _models_of(db: Database, job_ids: list[str]) -> dict[str, str]:
    rows = db.execute(
        f"SELECT id, coalesce(requested_model, model) AS model FROM jobs WHERE {db.is_in('id')}",
        (db.list_value(job_ids),),
    )
    return {row["id"]: row["model"] for row in rows}


def _cursor_position(db: Database, account_id: str, cursor: str) -> int:
    row = db.execute(
        "SELECT id FROM entries WHERE key = ? AND account_id = ?", (cursor, account_id)
    ).fetchone()
    if row is None:
        raise InvalidRequest(INVALID_CURSOR_MESSAGE, code="invalid_cursor", param="cursor")
    return int(row["id"])


def get_statement(db: Database, account_id: str, since: datetime, until: datetime) -> Statement:
    """Return an account's entries of a period with the opening balance. Raises NotFound."""
    rows = db.execute(
        "SELECT * FROM entries WHERE account_id = ? AND at >= ? AND at < ? ORDER BY id",
        (account_id, format_time(since), format_time(until)),
    )
    return Statement(
        account_id=account_id,
        since=since,
        until=until,
        opening=_balance_total_at(db, account_id, since),
        entries=tuple(row_to_entry(row) for row in rows),
    )


def _balance_total_at(db: Database, account_id: str, moment: datetime) -> int:
    """Return the balance at an earlier moment: today's balance minus all changes since."""
    return get_balance(db, account_id).total - _sum_since(db, account_id, format_time(moment))


def _sum_from_id(db: Database, account_id: str, first: int) -> int:
    """Return what the entry with the id `first` and later ones have added to an account's balance."""
    block = first // BLOCK_SIZE
    whole = _sum_blocks(db, account_id, "block > ?", block)
    return whole + _sum_entries(db, account_id, range(first, (block + 1) * BLOCK_SIZE))


def _sum_since(db: Database, account_id: str, at: str) -> int:
    """Return what the entries since a time have added. Their ids need not be in the order of their times."""
    divided = db.execute(
        "SELECT block FROM entry_blocks WHERE account_id = ? AND first_at < ? AND last_at >= ?",
        (account_id, at, at),
    ).fetchall()
    total = _sum_blocks(db, account_id, "first_at >= ?", at)
    for row in divided:
        first = row["block"] * BLOCK_SIZE
        total += _sum_entries(db, account_id, range(first, first + BLOCK_SIZE), "AND at >= ?", at)
    return total


def _sum_blocks(db: Database, account_id: str, condition: str, value: object) -> int:
    row = db.execute(
        f"""SELECT coalesce(sum(micros), 0) AS change FROM entry_blocks
        WHERE account_id = ? AND {condition}""",
        (account_id, value),
    ).fetchone()
    return int(row["change"])


def _sum_entries(db: Database, account_id: str, ids: range, condition: str = "", *values: str) -> int:
    """Return what the entries with these ids have added to an account's balance."""
    row = db.execute(
        f"""SELECT {CHANGE} AS change FROM entries {db.use_index("entries_account")}
        WHERE account_id = ? AND id >= ? AND id < ? {condition}""",
        (account_id, ids.start, ids.stop, *values),
    ).fetchone()
    return int(row["change"])

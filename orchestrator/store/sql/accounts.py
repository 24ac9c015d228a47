"""Accounts and their plans."""

from __future__ import annotations

from datetime import datetime

from orchestrator.store.lookup import found
from orchestrator.store.sql.database import Database
from orchestrator.store.sql.rows import format_time, insert_row, row_to_account, update_row
from orchestrator.store.values import Account


def lock_account(db: Database, account_id: str) -> None:
    """Keep the balance, spending, allowance, alerts and keys of an account until the transaction ends."""
    db.lock_rows("SELECT id FROM accounts WHERE id = ?", (account_id,))


def add_account(db: Database, account: Account) -> Account:
    times = {"created_at": format_time(account.created_at), "plan_since": format_time(account.plan_since)}
    insert_row(db, "accounts", {"id": account.id, "name": account.name, "plan": account.plan, **times})
    return account


def list_accounts(db: Database) -> list[Account]:
    return [row_to_account(row) for row in db.execute("SELECT * FROM accounts ORDER BY created_at, rowid")]


def get_account(db: Database, account_id: str) -> Account:
    """Return an account. Raises NotFound."""
    row = db.execute("SELECT * FROM accounts WHERE id = ?", (account_id,)).fetchone()
    return row_to_account(found(row, "account", account_id))


def resolve_account(db: Database, account_or_key_id: str) -> Account:
    """Return the account with this id, or the account of the key with this id. Raises NotFound."""
    key = db.execute("SELECT account_id FROM keys WHERE id = ?", (account_or_key_id,)).fetchone()
    account_id = key["account_id"] if key else account_or_key_id
    row = db.execute("SELECT * FROM accounts WHERE id = ?", (account_id,)).fetchone()
    return row_to_account(found(row, "account or API key", account_or_key_id))


def set_plan(db: Database, account_id: str, plan: str, now: datetime) -> Account:
    """Change the plan and begin its billing months now; the same plan changes nothing. Raises NotFound."""
    lock_account(db, account_id)
    account = get_account(db, account_id)
    if account.plan != plan:
        update_row(db, "accounts", account_id, {"plan": plan, "plan_since": format_time(now)})
    return get_account(db, account_id)

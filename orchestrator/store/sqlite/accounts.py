"""Accounts and their keys."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from orchestrator.errors import NotFound
from orchestrator.store.sqlite.rows import from_time, insert, to_account, to_key
from orchestrator.store.values import Account, Key

#: Keys with what `to_key` wants to know of their accounts.
KEYS = """SELECT keys.*,
        accounts.name AS account_name, accounts.plan AS account_plan,
        accounts.created_at AS account_created_at
    FROM keys JOIN accounts ON accounts.id = keys.account_id"""


def add_account(db: sqlite3.Connection, account: Account) -> Account:
    insert(
        db,
        "accounts",
        {
            "id": account.id,
            "name": account.name,
            "plan": account.plan,
            "created_at": from_time(account.created_at),
        },
    )
    return account


def all_accounts(db: sqlite3.Connection) -> list[Account]:
    return [to_account(row) for row in db.execute("SELECT * FROM accounts ORDER BY created_at, id")]


def get_account(db: sqlite3.Connection, account_id: str) -> Account:
    """Raises NotFound."""
    row = db.execute("SELECT * FROM accounts WHERE id = ?", (account_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no account {account_id!r}.")
    return to_account(row)


def resolve_account(db: sqlite3.Connection, id: str) -> Account:
    """The account with this id, or that of the key with this id. Raises NotFound."""
    key = db.execute("SELECT account_id FROM keys WHERE id = ?", (id,)).fetchone()
    try:
        return get_account(db, key["account_id"] if key else id)
    except NotFound:
        raise NotFound(f"There is no account or key {id!r}.") from None


def add_key(db: sqlite3.Connection, key: dict[str, str], now: datetime) -> Key:
    """Raises NotFound when there is no such account."""
    get_account(db, key["account_id"])
    insert(db, "keys", {**key, "created_at": from_time(now)})
    return get_key(db, key["id"])


def find_key(db: sqlite3.Connection, digest: str) -> Key | None:
    row = db.execute(f"{KEYS} WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else to_key(row)


def get_key(db: sqlite3.Connection, key_id: str) -> Key:
    """Raises NotFound."""
    row = db.execute(f"{KEYS} WHERE keys.id = ?", (key_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no key {key_id!r}.")
    return to_key(row)


def list_keys(db: sqlite3.Connection, account_id: str | None) -> list[Key]:
    rows = db.execute(
        f"{KEYS} WHERE ? IS NULL OR account_id = ? ORDER BY keys.created_at, keys.rowid", (account_id,) * 2
    )
    return [to_key(row) for row in rows]


def revoke_key(db: sqlite3.Connection, key_id: str, now: datetime) -> Key:
    """Revoking again keeps the first time. Raises NotFound."""
    db.execute("UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (from_time(now), key_id))
    return get_key(db, key_id)

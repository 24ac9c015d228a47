"""API keys: digests with scopes, model lists and spend caps."""

from __future__ import annotations

from datetime import datetime

from orchestrator.billing.api_keys import check_active_keys
from orchestrator.store.lookup import found
from orchestrator.store.operations import check_key_rotatable
from orchestrator.store.sql.accounts import get_account, lock_account
from orchestrator.store.sql.database import Database
from orchestrator.store.sql.rows import format_time, insert_row, limits_to_row, row_to_key, update_row
from orchestrator.store.values import ApiKey, ApiKeyLimits

#: Keys joined with the account columns that `row_to_key` reads.
SELECT_KEYS = """SELECT keys.*,
        accounts.name AS account_name, accounts.plan AS account_plan,
        accounts.created_at AS account_created_at, accounts.plan_since AS account_plan_since
    FROM keys JOIN accounts ON accounts.id = keys.account_id"""


def add_key(
    db: Database,
    row: dict[str, str],
    limits: ApiKeyLimits,
    now: datetime,
    max_active: int | None = None,
) -> ApiKey:
    """Insert a key. Raises NotFound, InvalidRequest if `max_active` keys of the account are usable."""
    lock_account(db, row["account_id"])
    get_account(db, row["account_id"])
    check_active_keys(list_keys(db, row["account_id"]), max_active, now)
    insert_row(db, "keys", {**row, "created_at": format_time(now), **limits_to_row(limits)})
    return get_key(db, row["id"])


def find_key(db: Database, digest: str) -> ApiKey | None:
    row = db.execute(f"{SELECT_KEYS} WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else row_to_key(row)


def get_key(db: Database, key_id: str) -> ApiKey:
    """Return a key. Raises NotFound."""
    row = db.execute(f"{SELECT_KEYS} WHERE keys.id = ?", (key_id,)).fetchone()
    return row_to_key(found(row, "API key", key_id))


def list_keys(db: Database, account_id: str | None) -> list[ApiKey]:
    condition, values = ("TRUE", ()) if account_id is None else ("account_id = ?", (account_id,))
    rows = db.execute(f"{SELECT_KEYS} WHERE {condition} ORDER BY keys.created_at, keys.rowid", values)
    return [row_to_key(row) for row in rows]


def set_key_limits(db: Database, key_id: str, limits: ApiKeyLimits) -> ApiKey:
    """Replace the limits of a key. Raises NotFound."""
    update_row(db, "keys", key_id, limits_to_row(limits))
    return get_key(db, key_id)


def revoke_key(db: Database, key_id: str, now: datetime) -> ApiKey:
    """Revoke a key; revoking again keeps the first time. Raises NotFound."""
    db.execute(
        "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (format_time(now), key_id)
    )
    return get_key(db, key_id)


def rotate_key(db: Database, key_id: str, row: dict[str, str], now: datetime) -> ApiKey:
    """Revoke a key and add a new one with its name and limits.

    Raises NotFound, and InvalidRequest for a revoked key.
    """
    lock_account(db, get_key(db, key_id).account.id)
    old = get_key(db, key_id)
    check_key_rotatable(old)
    revoke_key(db, key_id, now)
    add_key(db, {**row, "account_id": old.account.id, "name": old.name}, old.limits, now)
    update_row(db, "keys", row["id"], {"first_key_id": old.chain_id})
    return get_key(db, row["id"])


def find_key_limits(db: Database, key_id: str) -> ApiKeyLimits | None:
    """Return the limits of a key, or None if there is no such key."""
    row = db.execute(f"{SELECT_KEYS} WHERE keys.id = ?", (key_id,)).fetchone()
    return None if row is None else row_to_key(row).limits

"""API keys: kept as digests, with what they may do and how much they may spend."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

from orchestrator.errors import InsufficientBalance, InvalidRequest, NotFound
from orchestrator.jobs import Job
from orchestrator.store.sqlite.accounts import get_account
from orchestrator.store.sqlite.rows import format_time, insert_row, limits_to_row, row_to_key, update_row
from orchestrator.store.values import ApiKey, ApiKeyLimits
from pricing.money import format_usd, to_usd

#: Keys with what `row_to_key` wants to know of their accounts.
SELECT_KEYS = """SELECT keys.*,
        accounts.name AS account_name, accounts.plan AS account_plan,
        accounts.created_at AS account_created_at, accounts.plan_since AS account_plan_since
    FROM keys JOIN accounts ON accounts.id = keys.account_id"""


def add_key(db: sqlite3.Connection, row: dict[str, str], limits: ApiKeyLimits, now: datetime) -> ApiKey:
    """Raises NotFound when there is no such account."""
    get_account(db, row["account_id"])
    insert_row(db, "keys", {**row, "created_at": format_time(now), **limits_to_row(limits)})
    return get_key(db, row["id"])


def find_key(db: sqlite3.Connection, digest: str) -> ApiKey | None:
    row = db.execute(f"{SELECT_KEYS} WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else row_to_key(row)


def get_key(db: sqlite3.Connection, key_id: str) -> ApiKey:
    """Raises NotFound."""
    row = db.execute(f"{SELECT_KEYS} WHERE keys.id = ?", (key_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no key {key_id!r}.")
    return row_to_key(row)


def list_keys(db: sqlite3.Connection, account_id: str | None) -> list[ApiKey]:
    rows = db.execute(
        f"{SELECT_KEYS} WHERE ? IS NULL OR account_id = ? ORDER BY keys.created_at, keys.rowid",
        (account_id,) * 2,
    )
    return [row_to_key(row) for row in rows]


def set_key_limits(db: sqlite3.Connection, key_id: str, limits: ApiKeyLimits) -> ApiKey:
    """Raises NotFound."""
    update_row(db, "keys", key_id, limits_to_row(limits))
    return get_key(db, key_id)


def revoke_key(db: sqlite3.Connection, key_id: str, now: datetime) -> ApiKey:
    """Revoking again keeps the first time. Raises NotFound."""
    db.execute(
        "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (format_time(now), key_id)
    )
    return get_key(db, key_id)


def rotate_key(db: sqlite3.Connection, key_id: str, row: dict[str, str], now: datetime) -> ApiKey:
    """A new key in the place of an old one, with its name and limits; the old one ends at once.

    Raises NotFound, and InvalidRequest for a key that was revoked before.
    """
    old = get_key(db, key_id)
    if old.is_revoked:
        raise InvalidRequest("A revoked key can not be rotated.", code="key_revoked")
    revoke_key(db, key_id, now)
    return add_key(db, {**row, "account_id": old.account.id, "name": old.name}, old.limits, now)


def check_spend_caps(db: sqlite3.Connection, job: Job) -> None:
    """Raises InsufficientBalance where a job would take its key over a cap of the day or month."""
    row = db.execute("SELECT day_cap, month_cap FROM keys WHERE id = ?", (job.key_id,)).fetchone()
    if row is None:
        return
    today = format_time(job.created_at)[:10]
    for period, since, cap in (
        ("day", today, row["day_cap"]),
        ("month", f"{today[:7]}-01", row["month_cap"]),
    ):
        if cap is not None:
            _check_spend_cap(job, period, cap, _spent_since(db, job.key_id, since))


def _check_spend_cap(job: Job, period: str, cap: int, spent: int) -> None:
    if spent + job.price <= cap:
        return
    details: dict[str, Any] = {
        "cap_usd": to_usd(cap),
        "spent_usd": to_usd(spent),
        "required_usd": to_usd(job.price),
        "period": period,
    }
    raise InsufficientBalance(
        f"This costs ${format_usd(job.price)}, and the API key has spent ${format_usd(spent)} "
        f"of its ${format_usd(cap)} for this {period}.",
        code="key_spend_cap",
        details=details,
    )


def _spent_since(db: sqlite3.Connection, key_id: str, since: str) -> int:
    """What a key's jobs have cost since a day, and what its unfinished ones hold."""
    return int(
        db.execute(
            """SELECT
                (SELECT coalesce(sum(micros), 0) FROM usage_days WHERE key_id = :key AND day >= :since)
                + (SELECT coalesce(sum(price), 0) FROM jobs WHERE key_id = :key AND finished_at IS NULL)""",
            {"key": key_id, "since": since},
        ).fetchone()[0]
    )

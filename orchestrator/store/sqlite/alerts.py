"""Budget alerts, and the outbox in which they wait to be delivered."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.errors import NotFound
from orchestrator.store.sqlite import wallet
from orchestrator.store.sqlite.accounts import get_account
from orchestrator.store.sqlite.rows import (
    from_alert,
    from_json,
    from_time,
    insert,
    to_alert,
    to_message,
    update,
)
from orchestrator.store.values import Message
from pricing.alerts import Alert, Watched
from pricing.money import to_usd

TOPIC = "budget.alert"


def add_alert(db: sqlite3.Connection, alert: Alert) -> Alert:
    """Raises NotFound. What is crossed already fires at once."""
    get_account(db, alert.account_id)
    insert(db, "alerts", from_alert(alert))
    check(db, alert.account_id, alert.created_at)
    return to_alert(db.execute("SELECT * FROM alerts WHERE id = ?", (alert.id,)).fetchone())


def list_alerts(db: sqlite3.Connection, account_id: str) -> list[Alert]:
    rows = db.execute("SELECT * FROM alerts WHERE account_id = ? ORDER BY created_at, rowid", (account_id,))
    return [to_alert(row) for row in rows]


def remove_alert(db: sqlite3.Connection, account_id: str, alert_id: str) -> None:
    """Raises NotFound for another account's too."""
    gone = db.execute("DELETE FROM alerts WHERE id = ? AND account_id = ?", (alert_id, account_id))
    if not gone.rowcount:
        raise NotFound(f"There is no alert {alert_id!r}.")


def check(db: sqlite3.Connection, account_id: str, now: datetime) -> None:
    """Look at an account's alerts after its money has moved; what fires goes into the outbox."""
    for alert in list_alerts(db, account_id):
        reading = _reading(db, alert, now)
        after, fires = alert.read(reading, now)
        if after != alert:
            update(db, "alerts", alert.id, {"fired": after.fired})
        if fires:
            payload = {
                "alert_id": alert.id,
                "watched": alert.watched.value,
                "threshold_usd": to_usd(alert.threshold),
                "reading_usd": to_usd(reading),
                "at": from_time(now),
            }
            post(db, account_id, TOPIC, payload, alert.url, now)


def _reading(db: sqlite3.Connection, alert: Alert, now: datetime) -> int:
    if alert.watched is Watched.BALANCE:
        return wallet.balance(db, alert.account_id).total
    since = now.date() if alert.watched is Watched.DAY else now.date().replace(day=1)
    row = db.execute(
        "SELECT coalesce(sum(micros), 0) FROM usage_days WHERE account_id = ? AND day >= ?",
        (alert.account_id, since.isoformat()),
    ).fetchone()
    return int(row[0])


def post(
    db: sqlite3.Connection,
    account_id: str,
    topic: str,
    payload: Mapping[str, Any],
    url: str | None,
    now: datetime,
) -> None:
    """Put a message into the outbox; it is due at once if it has somewhere to go."""
    moment = from_time(now)
    insert(
        db,
        "outbox",
        {
            "account_id": account_id,
            "topic": topic,
            "payload": from_json(dict(payload)),
            "url": url,
            "created_at": moment,
            "due_at": moment if url else None,
        },
    )


def due_messages(db: sqlite3.Connection, now: datetime, limit: int) -> list[Message]:
    rows = db.execute(
        "SELECT * FROM outbox WHERE due_at <= ? ORDER BY due_at, id LIMIT ?", (from_time(now), limit)
    )
    return [to_message(row) for row in rows]


def messages(db: sqlite3.Connection, account_id: str, limit: int) -> list[Message]:
    rows = db.execute(
        "SELECT * FROM outbox WHERE account_id = ? ORDER BY id DESC LIMIT ?", (account_id, limit)
    )
    return [to_message(row) for row in rows]


def message_delivered(db: sqlite3.Connection, message_id: int, now: datetime) -> None:
    db.execute(
        "UPDATE outbox SET delivered_at = ?, due_at = NULL, error = NULL, attempts = attempts + 1"
        " WHERE id = ? AND delivered_at IS NULL",
        (from_time(now), message_id),
    )


def message_failed(db: sqlite3.Connection, message_id: int, error: str, due_at: datetime | None) -> None:
    """Try again at `due_at`; None gives it up."""
    db.execute(
        "UPDATE outbox SET error = ?, due_at = ?, attempts = attempts + 1"
        " WHERE id = ? AND delivered_at IS NULL",
        (error, due_at and from_time(due_at), message_id),
    )

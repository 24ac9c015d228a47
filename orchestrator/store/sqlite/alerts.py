"""Budget alerts: looked at whenever an account's money has moved."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from orchestrator.errors import NotFound
from orchestrator.store.sqlite import outbox, wallet
from orchestrator.store.sqlite.accounts import get_account
from orchestrator.store.sqlite.rows import alert_to_row, format_time, insert_row, row_to_alert, update_row
from pricing.alerts import Alert, AlertMetric
from pricing.money import to_usd

BUDGET_ALERT_TOPIC = "budget.alert"


def add_alert(db: sqlite3.Connection, alert: Alert) -> Alert:
    """Raises NotFound. What is crossed already fires at once."""
    get_account(db, alert.account_id)
    insert_row(db, "alerts", alert_to_row(alert))
    check_alerts(db, alert.account_id, alert.created_at)
    return _get_alert(db, alert.account_id, alert.id)


def list_alerts(db: sqlite3.Connection, account_id: str) -> list[Alert]:
    rows = db.execute("SELECT * FROM alerts WHERE account_id = ? ORDER BY created_at, rowid", (account_id,))
    return [row_to_alert(row) for row in rows]


def update_alert(
    db: sqlite3.Connection, account_id: str, alert_id: str, terms: tuple[int, str | None], now: datetime
) -> Alert:
    """`terms` are threshold and URL. Raises NotFound for another account's too."""
    _get_alert(db, account_id, alert_id)
    threshold, url = terms
    update_row(db, "alerts", alert_id, {"threshold": threshold, "url": url, "fired": None})
    check_alerts(db, account_id, now)
    return _get_alert(db, account_id, alert_id)


def delete_alert(db: sqlite3.Connection, account_id: str, alert_id: str) -> None:
    """Raises NotFound for another account's too."""
    gone = db.execute("DELETE FROM alerts WHERE id = ? AND account_id = ?", (alert_id, account_id))
    if not gone.rowcount:
        raise NotFound(f"There is no alert {alert_id!r}.")


def check_alerts(db: sqlite3.Connection, account_id: str, now: datetime) -> None:
    """Look at an account's alerts after its money has moved; what fires goes into the outbox."""
    for alert in list_alerts(db, account_id):
        reading = _read_metric(db, alert, now)
        after, fires = alert.evaluate(reading, now)
        if after != alert:
            update_row(db, "alerts", alert.id, {"fired": after.fired})
        if fires:
            payload = {
                "alert_id": alert.id,
                "watched": alert.watched.value,
                "threshold_usd": to_usd(alert.threshold),
                "reading_usd": to_usd(reading),
                "at": format_time(now),
            }
            outbox.add_message(db, account_id, (BUDGET_ALERT_TOPIC, payload), alert.url, now)


def _get_alert(db: sqlite3.Connection, account_id: str, alert_id: str) -> Alert:
    row = db.execute(
        "SELECT * FROM alerts WHERE id = ? AND account_id = ?", (alert_id, account_id)
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no alert {alert_id!r}.")
    return row_to_alert(row)


def _read_metric(db: sqlite3.Connection, alert: Alert, now: datetime) -> int:
    if alert.watched is AlertMetric.BALANCE:
        return wallet.get_balance(db, alert.account_id).total
    since = now.date() if alert.watched is AlertMetric.DAY else now.date().replace(day=1)
    row = db.execute(
        "SELECT coalesce(sum(micros), 0) FROM usage_days WHERE account_id = ? AND day >= ?",
        (alert.account_id, since.isoformat()),
    ).fetchone()
    return int(row[0])

"""Budget alerts: stored terms and whether each has fired. Rules: `orchestrator.billing.alerts`."""

from __future__ import annotations

from orchestrator.store.lookup import found
from orchestrator.store.sql.accounts import lock_account
from orchestrator.store.sql.database import Database
from orchestrator.store.sql.rows import alert_to_row, insert_row, row_to_alert, update_row
from pricing.alerts import Alert


def insert_alert(db: Database, alert: Alert) -> None:
    insert_row(db, "alerts", alert_to_row(alert))


def list_alerts(db: Database, account_id: str) -> list[Alert]:
    """Return an account's alerts, oldest first."""
    rows = db.execute("SELECT * FROM alerts WHERE account_id = ? ORDER BY created_at, rowid", (account_id,))
    return [row_to_alert(row) for row in rows]


def get_alert(db: Database, account_id: str, alert_id: str) -> Alert:
    """Return an alert. Raises NotFound, also for another account's alert."""
    row = db.execute(
        "SELECT * FROM alerts WHERE id = ? AND account_id = ?", (alert_id, account_id)
    ).fetchone()
    return row_to_alert(found(row, "alert", alert_id))


def update_alert_terms(db: Database, account_id: str, alert_id: str, threshold: int, url: str | None) -> None:
    """Change threshold and URL and let the alert fire again. Raises NotFound."""
    lock_account(db, account_id)
    get_alert(db, account_id, alert_id)
    update_row(db, "alerts", alert_id, {"threshold": threshold, "url": url, "fired": None})


def delete_alert(db: Database, account_id: str, alert_id: str) -> None:
    """Delete an alert. Raises NotFound."""
    lock_account(db, account_id)
    get_alert(db, account_id, alert_id)
    db.execute("DELETE FROM alerts WHERE id = ?", (alert_id,))

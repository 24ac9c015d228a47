"""Budget alerts: evaluated whenever an account's balance or spending changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.billing.changes import NO_CHANGES, Changes, NewMessage
from orchestrator.billing.ledger_rules import balance_after
from orchestrator.errors import InvalidRequest
from pricing.alerts import Alert, AlertMetric
from pricing.ledger import Balance
from pricing.money import to_usd

BUDGET_ALERT_TOPIC = "budget.alert"


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetStatus:
    """What an account's alerts are evaluated on, before the changes at hand."""

    account_id: str
    balance: Balance
    #: Micro-dollars captured today and in this calendar month (UTC).
    day_spend: int
    month_spend: int
    alerts: Sequence[Alert]

    def after(self, changes: Changes) -> BudgetStatus:
        """Return the status once the entries and usage of `changes` are added."""
        spent = sum(row.micros for row in changes.usage if row.account_id == self.account_id)
        return BudgetStatus(
            account_id=self.account_id,
            balance=balance_after(self.account_id, self.balance, changes),
            day_spend=self.day_spend + spent,
            month_spend=self.month_spend + spent,
            alerts=self.alerts,
        )

    def reading(self, metric: AlertMetric) -> int:
        """Return the micro-dollars that an alert on `metric` compares with its threshold."""
        match metric:
            case AlertMetric.BALANCE:
                return self.balance.total
            case AlertMetric.DAY:
                return self.day_spend
            case AlertMetric.MONTH:
                return self.month_spend


def with_budget_alerts(changes: Changes, before: BudgetStatus, now: datetime) -> Changes:
    """Return `changes` plus the alerts that they fire or reset, and a message for each that fires."""
    return changes + check_budget_alerts(before.after(changes), now)


def check_budget_alerts(status: BudgetStatus, now: datetime) -> Changes:
    """Return the alerts that fire or reset at this status, and a message for each that fires."""
    changes = NO_CHANGES
    for alert in status.alerts:
        reading = status.reading(alert.watched)
        evaluated, fires = alert.evaluate(reading, now)
        if evaluated != alert:
            changes += Changes(alerts=(evaluated,))
        if fires:
            changes += Changes(messages=(_alert_message(alert, reading, now),))
    return changes


def check_alert_count(alerts: Sequence[Alert], max_alerts: int | None) -> None:
    """Check that an account with these alerts may add one. Raises InvalidRequest (`too_many_alerts`)."""
    if max_alerts is not None and len(alerts) >= max_alerts:
        raise InvalidRequest(
            f"An account has at most {max_alerts} alerts; delete one first", code="too_many_alerts"
        )


def _alert_message(alert: Alert, reading: int, now: datetime) -> NewMessage:
    payload = {
        "alert_id": alert.id,
        "watched": alert.watched.value,
        "threshold_usd": to_usd(alert.threshold),
        "reading_usd": to_usd(reading),
        "at": now.astimezone(UTC).isoformat(timespec="microseconds"),
    }
    return NewMessage(
        account_id=alert.account_id,
        topic=BUDGET_ALERT_TOPIC,
        payload=payload,
        url=alert.url,
        created_at=now,
    )

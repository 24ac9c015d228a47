"""Budget alerts: each fires once when its threshold is crossed, and again only after it was crossed back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class AlertMetric(StrEnum):
    """What an alert compares with its threshold."""

    BALANCE = "balance"  #: what is left, held money included: fires below the threshold
    DAY = "day"  #: what succeeded jobs have cost today (UTC): fires from the threshold on
    MONTH = "month"  #: the same for the calendar month


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    id: str
    account_id: str
    watched: AlertMetric
    #: Micro-dollars.
    threshold: int
    #: Webhook URL; None if the alert is only listed.
    url: str | None
    created_at: datetime
    #: The period for which it has fired; None while it waits for a crossing.
    fired: str | None = None

    def period_key(self, now: datetime) -> str:
        """Return the period within which the alert fires at most once per crossing."""
        match self.watched:
            case AlertMetric.BALANCE:
                return "always"
            case AlertMetric.DAY:
                return now.date().isoformat()
            case AlertMetric.MONTH:
                return now.date().isoformat()[:7]

    def has_fired(self, now: datetime) -> bool:
        """Whether the alert has fired in the current period."""
        return self.fired == self.period_key(now)

    def evaluate(self, value: int, now: datetime) -> tuple[Alert, bool]:
        """Return the alert after comparing `value` with the threshold, and whether it fires."""
        below = self.watched is AlertMetric.BALANCE
        crossed = value < self.threshold if below else value >= self.threshold
        period = self.period_key(now)
        if crossed and self.fired != period:
            return replace(self, fired=period), True
        if not crossed and self.fired == period:
            return replace(self, fired=None), False
        return self, False

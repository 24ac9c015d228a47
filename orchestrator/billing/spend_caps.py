"""Spend caps of API keys, per day and calendar month (UTC)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from orchestrator.billing.values import ApiKeyLimits
from orchestrator.errors import InsufficientBalance
from orchestrator.jobs import Job
from pricing.money import format_usd, to_usd


def check_spend_caps(job: Job, limits: ApiKeyLimits, spent_since: Callable[[date], int]) -> None:
    """Raise InsufficientBalance (`key_spend_cap`) if the job's price exceeds what its key may still spend.

    `spent_since(day)` returns what the key has spent from that day on plus the price of all its unfinished
    jobs. Refunds do not lower it.
    """
    today = job.created_at.date()
    for period, since, cap in (
        ("day", today, limits.day_cap),
        ("month", today.replace(day=1), limits.month_cap),
    ):
        if cap is not None:
            _check_spend_cap(job, period, cap, spent_since(since))


def _check_spend_cap(job: Job, period: str, cap: int, spent: int) -> None:
    if spent + job.price <= cap:
        return
    raise InsufficientBalance(
        f"Spend cap of the API key exceeded: this request costs ${format_usd(job.price)}, and the key has "
        f"spent or reserved ${format_usd(spent)} of its ${format_usd(cap)} per {period}. "
        "Raise the cap or use another key.",
        code="key_spend_cap",
        details={
            "cap_usd": to_usd(cap),
            "spent_usd": to_usd(spent),
            "required_usd": to_usd(job.price),
            "period": period,
        },
    )

"""Plans: rate limits, concurrency, priority and monthly credits of an account."""

from __future__ import annotations

import tomllib
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self

from pricing.money import MICROS_PER_DOLLAR, MoneyError, parse_rate, parse_usd, round_up

SHIPPED_PLANS = resources.files("pricing") / "plans.toml"
#: Enough for clients that poll ten jobs every second.
DEFAULT_POLLS_PER_MINUTE = 600
_COUNT_FIELDS = ("monthly_credits", "requests_per_minute", "concurrency", "priority")


class PlanError(ValueError):
    """A plans file is invalid, or a plan does not exist."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    id: str
    #: Micro-dollars per month.
    price: int
    #: Granted at the start of each month; the unspent rest expires at its end.
    monthly_credits: int
    #: The same in micro-dollars.
    monthly_micros: int
    #: Micro-dollars given once, when an account is opened on this plan.
    signup_micros: int
    requests_per_minute: int
    #: Requests for the state of one job, which are not counted above; 0 counts them there.
    polls_per_minute: int = DEFAULT_POLLS_PER_MINUTE
    #: Shards that may run at once.
    concurrency: int
    #: Higher values are scheduled first.
    priority: int

    @property
    def fair_share_weight(self) -> float:
        """Share of the fleet relative to other accounts that wait: each step of priority doubles it."""
        return float(2**self.priority)


@dataclass(frozen=True, slots=True)
class Plans:
    """All plans, by id."""

    by_id: Mapping[str, Plan]
    #: The plan of an account that names none.
    default: Plan

    def __getitem__(self, id: str) -> Plan:
        """Raises PlanError."""
        try:
            return self.by_id[id]
        except KeyError:
            raise PlanError(f"there is no plan {id!r}, only {', '.join(self.by_id)}") from None

    def get_or_default(self, id: str) -> Plan:
        """Return a plan, or the default plan if it is no longer offered."""
        return self.by_id.get(id, self.default)

    @classmethod
    def load(cls, path: Path | Traversable = SHIPPED_PLANS) -> Self:
        """Raises PlanError."""
        try:
            return cls.parse(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, tomllib.TOMLDecodeError, PlanError) as error:
            raise PlanError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Raises PlanError."""
        try:
            plans = {id: _parse_plan(id, entry, data["credit"]) for id, entry in data["plans"].items()}
            return cls(plans, plans[data["default"]])
        except KeyError as error:
            raise PlanError(f"{error} is missing") from error


def _parse_plan(id: str, entry: Mapping[str, Any], credit: str) -> Plan:
    counts = {name: entry[name] for name in _COUNT_FIELDS}
    signup_credits = entry.get("signup_credits", 0)
    default_polls = max(DEFAULT_POLLS_PER_MINUTE, _whole(counts["requests_per_minute"]))
    polls = entry.get("polls_per_minute", default_polls)
    for name, count in {**counts, "signup_credits": signup_credits, "polls_per_minute": polls}.items():
        if type(count) is not int or count < 0:
            raise PlanError(f"{id}: {name} must be a whole number, not {count!r}")
    try:
        price = parse_usd(entry["price"])
        each = parse_rate(credit) * MICROS_PER_DOLLAR
    except (MoneyError, TypeError, AttributeError) as error:
        raise PlanError(f"{id}: {error}") from error
    return Plan(
        id=id,
        price=price,
        monthly_micros=round_up(each * counts["monthly_credits"]),
        signup_micros=round_up(each * signup_credits),
        polls_per_minute=polls,
        **counts,
    )


def _whole(value: object) -> int:
    """Return a whole number, or 0 for a value that is rejected as none later."""
    return value if type(value) is int else 0


def billing_period(anchor: datetime, now: datetime) -> tuple[datetime, datetime]:
    """Return start and end of the billing month that contains `now`; months begin on the day of `anchor`.

    In a month without that day the period begins on its last day.
    """
    months = (now.year - anchor.year) * 12 + now.month - anchor.month
    if now < _add_months(anchor, months):
        months -= 1
    return _add_months(anchor, months), _add_months(anchor, months + 1)


def _add_months(anchor: datetime, months: int) -> datetime:
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    return anchor.replace(year=year, month=month + 1, day=min(anchor.day, monthrange(year, month + 1)[1]))


def unspent_allowance(granted: int, spent: int, available: int) -> int:
    """Return the part of an allowance that expires: charges use it first, held money is not taken."""
    return min(max(granted - spent, 0), available)

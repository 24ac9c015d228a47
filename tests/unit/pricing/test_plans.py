from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.plans import SHIPPED_PLANS, PlanError, Plans, billing_period, unspent_allowance

PLANS = Plans.load()


@pytest.mark.parametrize(
    ("id", "per_minute", "credits", "dollars"),
    [("free", 20, 100, 0), ("starter", 60, 1_500, 9), ("pro", 120, 6_000, 29), ("scale", 300, 25_000, 99)],
)
def test_the_documented_plans(id: str, per_minute: int, credits: int, dollars: int) -> None:
    plan = PLANS[id]
    assert (plan.requests_per_minute, plan.monthly_credits) == (per_minute, credits)
    assert plan.price == dollars * 1_000_000
    assert plan.monthly_micros == credits * 1_000


def test_a_wallet_filled_by_payments_is_the_default() -> None:
    assert (PLANS.default.id, PLANS.default.monthly_micros) == ("standard", 0)


def test_better_plans_go_first() -> None:
    assert (
        PLANS["free"].priority < PLANS["starter"].priority < PLANS["pro"].priority < PLANS["scale"].priority
    )


def test_each_step_of_priority_doubles_the_share() -> None:
    assert [PLANS[id].fair_share_weight for id in ("free", "starter", "pro", "scale")] == [1.0, 2.0, 4.0, 8.0]


def test_signup_credits_depend_on_the_plan() -> None:
    data = shipped()
    data["plans"]["free"]["signup_credits"] = 250
    plans = Plans.parse(data)
    assert (plans["free"].signup_micros, plans["starter"].signup_micros) == (250_000, 0)


def test_a_removed_plan_becomes_the_default() -> None:
    assert PLANS.get_or_default("gold") is PLANS.default
    assert PLANS.get_or_default("pro") is PLANS["pro"]


def test_an_unknown_plan_is_named() -> None:
    with pytest.raises(PlanError, match="no plan 'gold', only standard, free"):
        PLANS["gold"]


def shipped() -> dict[str, Any]:
    return tomllib.loads(SHIPPED_PLANS.read_text())


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("price", "nine", "free: 'nine' is not an amount"),
        ("price", 9, "free: "),
        ("concurrency", -1, "free: concurrency must be a whole number"),
        ("concurrency", 1.5, "free: concurrency"),
        ("priority", True, "free: priority"),
        ("signup_credits", "10", "free: signup_credits"),
    ],
)
def test_a_broken_plan_is_named(field: str, value: object, text: str) -> None:
    data = shipped()
    data["plans"]["free"][field] = value
    with pytest.raises(PlanError, match=text):
        Plans.parse(data)


@pytest.mark.parametrize("name", ["credit", "plans", "default"])
def test_a_missing_part_is_named(name: str) -> None:
    data = shipped()
    del data[name]
    with pytest.raises(PlanError, match=f"'{name}' is missing"):
        Plans.parse(data)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"mine\.toml"):
        Plans.load(tmp_path / "mine.toml")


def day(month: int, number: int, year: int = 2026) -> datetime:
    return datetime(year, month, number, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("anchor", "now", "start", "end"),
    [
        (day(1, 15), day(1, 15), day(1, 15), day(2, 15)),
        (day(1, 15), day(3, 14), day(2, 15), day(3, 15)),
        (day(1, 15), day(3, 15), day(3, 15), day(4, 15)),
        (day(1, 31), day(2, 27), day(1, 31), day(2, 28)),
        (day(1, 31), day(2, 28), day(2, 28), day(3, 31)),
        (day(1, 31), day(3, 30), day(2, 28), day(3, 31)),
        (day(1, 31, 2028), day(2, 29, 2028), day(2, 29, 2028), day(3, 31, 2028)),
        (day(12, 5), day(1, 1, 2027), day(12, 5), day(1, 5, 2027)),
        (day(6, 5), day(5, 6), day(5, 5), day(6, 5)),
    ],
)
def test_billing_months(anchor: datetime, now: datetime, start: datetime, end: datetime) -> None:
    assert billing_period(anchor, now) == (start, end)


MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(MOMENTS, MOMENTS)
def test_billing_months_leave_no_gap(anchor: datetime, now: datetime) -> None:
    start, end = billing_period(anchor, now)
    assert start <= now < end
    assert billing_period(anchor, end)[0] == end
    assert billing_period(anchor, start - timedelta(microseconds=1))[1] == start


@pytest.mark.parametrize(
    ("granted", "spent", "available", "left"),
    [(100, 30, 1_000, 70), (100, 130, 1_000, 0), (100, 0, 40, 40), (100, -20, 1_000, 120)],
)
def test_an_allowance_is_spent_first(granted: int, spent: int, available: int, left: int) -> None:
    assert unspent_allowance(granted, spent, available) == left

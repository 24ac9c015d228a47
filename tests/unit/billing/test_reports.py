"""Usage and margins, added up."""

from __future__ import annotations

import csv
import io
from datetime import date

from orchestrator.billing.reports import (
    MarginGroupBy,
    UsageGroupBy,
    UsageGroupTotal,
    format_margins_csv,
    format_usage_csv,
    to_margin_response,
    to_usage_total_response,
    total_margins,
    total_usage,
)
from orchestrator.store import UsageRow
from pricing.costs import CostRates, MeteredUsage


def used(day: int, key: str, model: str, micros: int) -> UsageRow:
    return UsageRow(
        day=date(2026, 1, day),
        account_id="acct",
        key_id=key,
        model=model,
        simulated=False,
        jobs=1,
        outputs=2,
        micros=micros,
        gpu_seconds=1.5,
    )


ROWS = [used(2, "k1", "b", 10), used(1, "k1", "a", 20), used(1, "k2", "b", 30)]


def test_usage_is_added_up_by_each_heading() -> None:
    assert [(one.group, one.jobs, one.micros) for one in total_usage(ROWS, UsageGroupBy.MODEL)] == [
        ("a", 1, 20),
        ("b", 2, 40),
    ]
    assert [(one.group, one.micros) for one in total_usage(ROWS, UsageGroupBy.KEY)] == [
        ("k1", 30),
        ("k2", 30),
    ]
    assert [(one.group, one.outputs) for one in total_usage(ROWS, UsageGroupBy.DAY)] == [
        ("2026-01-01", 4),
        ("2026-01-02", 2),
    ]
    assert total_usage([], UsageGroupBy.DAY) == []


def test_a_total_is_the_sum_of_its_headings() -> None:
    whole = UsageGroupTotal.from_rows("all", ROWS)
    assert whole.micros == sum(one.micros for one in total_usage(ROWS, UsageGroupBy.MODEL)) == 60
    assert to_usage_total_response(whole) == {
        "jobs": 3,
        "outputs": 6,
        "cost_usd": 0.00006,
        "gpu_seconds": 4.5,
    }


def test_usage_as_csv() -> None:
    rows = list(
        csv.reader(io.StringIO(format_usage_csv(total_usage(ROWS, UsageGroupBy.KEY), UsageGroupBy.KEY)))
    )
    assert rows == [
        ["key", "jobs", "outputs", "usd", "gpu_seconds"],
        ["k1", "2", "4", "0.00003", "3.0"],
        ["k2", "1", "2", "0.00003", "1.5"],
    ]


def test_margins_are_what_is_left_of_the_price() -> None:
    work = [
        MeteredUsage(day=date(2026, 1, 1), model="a", device="NVIDIA H200", gpu_seconds=10, revenue=20_000),
        MeteredUsage(day=date(2026, 1, 2), model="a", device="", gpu_seconds=0, revenue=5_000),
    ]
    by_device = total_margins(work, CostRates.load(), MarginGroupBy.DEVICE)
    assert [one.key for one in by_device] == ["NVIDIA H200", "unknown"]
    assert to_margin_response(by_device[0], MarginGroupBy.DEVICE) == {
        "device": "NVIDIA H200",
        "shards": 0,
        "gpu_seconds": 10,
        "revenue_usd": 0.02,
        "cost_usd": 0.009723,
        "margin_usd": 0.010277,
        "usd_per_gpu_second": 0.002,
    }
    assert to_margin_response(by_device[1], MarginGroupBy.DEVICE)["usd_per_gpu_second"] is None
    (whole,) = total_margins(work, CostRates.load(), MarginGroupBy.MODEL)
    assert (whole.revenue, whole.margin) == (25_000, 15_277)
    assert (
        format_margins_csv([whole], MarginGroupBy.MODEL).splitlines()[1] == "a,0,10,0.025,0.009723,0.015277"
    )

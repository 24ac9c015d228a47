from __future__ import annotations

import tomllib
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pricing.costs import SHIPPED_COSTS, CostRates, CostsError, MeteredUsage

COSTS = CostRates.load()
DAY = date(2026, 3, 1)


def work(device: str = "NVIDIA RTX PRO 6000 Blackwell", **changes: Any) -> MeteredUsage:
    return MeteredUsage(**{"day": DAY, "model": "sdxl-1.0", "device": device, **changes})


@pytest.mark.parametrize(
    ("row", "dollars"),
    [
        (work(gpu_seconds=3600), "1.80"),
        (work("NVIDIA H200", gpu_seconds=1800), "1.75"),
        (work("nvidia h200 nvl", gpu_seconds=3600), "3.50"),
        (work("Some new card", gpu_seconds=3600), "2"),
        (work("", gpu_seconds=3600), "2"),
        (work("simulated", gpu_seconds=3600), "0"),
        (work(bytes_stored=2 * 10**9), "0.046"),
        (work(bytes_sent=10**9), "0.09"),
    ],
)
def test_what_work_costs(row: MeteredUsage, dollars: str) -> None:
    assert COSTS.cost_of(row) == Fraction(dollars) * 1_000_000


def test_margins_by_model() -> None:
    rows = [
        work(gpu_seconds=10, shards=2, revenue=20_000),
        work(gpu_seconds=10, shards=1, revenue=30_000),
        work(model="flux-1-dev", gpu_seconds=1),
    ]
    sdxl, flux = COSTS.margins(rows, group_by=lambda row: row.model)
    assert (sdxl.key, sdxl.shards, sdxl.gpu_seconds) == ("sdxl-1.0", 3, 20)
    assert (sdxl.revenue, sdxl.cost, sdxl.margin) == (50_000, 10_000, 40_000)
    assert sdxl.revenue_per_gpu_second == 2_500
    assert (flux.revenue, flux.cost, flux.margin) == (0, 500, -500)


def test_nothing_is_earned_per_second_of_no_gpu() -> None:
    (margin,) = COSTS.margins([work(revenue=5)], group_by=lambda row: row.day)
    assert (margin.key, margin.revenue_per_gpu_second) == (DAY, None)


def test_many_small_costs_are_rounded_once() -> None:
    (margin,) = COSTS.margins([work(bytes_sent=1)] * 10_000, group_by=lambda row: None)
    assert margin.cost == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"per_gb_sent": 0.09}, "in quotes"),
        ({"per_gb_stored": "free"}, "not a decimal"),
        ({"per_gpu_hour": {"H200": "1"}}, "any other GPU"),
    ],
)
def test_broken_costs_say_what_is_wrong(change: dict[str, object], text: str) -> None:
    data = tomllib.loads(SHIPPED_COSTS.read_text())
    with pytest.raises(CostsError, match=text):
        CostRates.parse({**data, **change})
    with pytest.raises(CostsError, match="'per_gpu_hour' is missing"):
        CostRates.parse({})


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CostsError, match=r"mine\.toml"):
        CostRates.load(tmp_path / "mine.toml")

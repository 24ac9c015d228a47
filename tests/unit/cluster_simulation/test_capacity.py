"""How many GPUs each part serves, and what a result costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.bench.cluster_simulation.assumptions import Assumptions
from scripts.bench.cluster_simulation.capacity import (
    Demand,
    Limit,
    cost_per_result,
    find_limits,
    find_service_limits,
    rates,
)
from scripts.bench.cluster_simulation.inputs import parse_inputs
from tests.support.cluster_inputs import WORKLOAD, document

INPUTS, ASSUMPTIONS = parse_inputs(document()), Assumptions()
DEMAND = Demand(WORKLOAD, 0.8)


def limits(assumptions: Assumptions = ASSUMPTIONS, **changes: object) -> dict[str, int]:
    """GPUs at saturation, by the first word of the part and by the whole of it."""
    found = find_limits(DEMAND, replace(INPUTS, **changes), assumptions)  # type: ignore[arg-type]
    return {limit.part: limit.max_gpus(1.0) for limit in found}


@pytest.mark.parametrize(("headroom", "gpus"), [(1.0, 100), (0.5, 50), (0.004, 0)])
def test_a_linear_part_serves_its_share(headroom: float, gpus: int) -> None:
    assert Limit("part", lambda count: count / 100, "assumed").max_gpus(headroom) == gpus


def test_a_quadratic_part_serves_the_root() -> None:
    assert Limit("part", lambda count: count**2 / 10_000, "measured").max_gpus(1.0) == 100


def test_decisions_carry_less_far_the_more_models_wait() -> None:
    found = limits()
    assert found["event loop, all 2 models wait"] < found["event loop, one model waits"]
    assert found["event loop, one model waits"] < found["event loop without decisions"]
    assert found["event loop, all 2 models wait"] < found["scheduler decisions alone, all 2 models wait"]


def test_decisions_grow_with_the_square_of_the_gpus() -> None:
    slow = replace(INPUTS.decision, base_us=0.0, per_instance_us=0.0)
    slower = replace(slow, per_candidate_us=4 * slow.per_candidate_us)
    part = "scheduler decisions alone, all 2 models wait"
    assert limits(decision=slow)[part] == pytest.approx(2 * limits(decision=slower)[part], abs=2)


def test_a_service_serves_the_gpus_whose_results_it_can_take() -> None:
    (limit, slower) = find_service_limits(DEMAND, {"fast": 50.0, "slow": 25.0})
    assert (limit.part, limit.basis) == ("fast", "benchmark")
    assert limit.max_gpus(1.0) * DEMAND.shards == pytest.approx(50.0, rel=0.01)
    assert limit.max_gpus(1.0) == pytest.approx(2 * slower.max_gpus(1.0), abs=1)


def test_names_what_is_assumed() -> None:
    parts = limits(replace(ASSUMPTIONS, network_bytes=1.25e9, s3_puts=100.0))
    assert {"network of S3, 10 Gbit/s", "S3, 100 PUT/s per prefix"} <= set(parts)


def test_twice_the_transactions_serve_twice_the_gpus() -> None:
    first, second = (
        next(
            gpus
            for part, gpus in limits(replace(ASSUMPTIONS, postgres_transactions=rate)).items()
            if part.startswith("PostgreSQL, ") and "transactions" in part
        )
        for rate in (1000.0, 2000.0)
    )
    assert second == pytest.approx(2 * first, abs=1)


def test_leaves_postgresql_out_if_it_was_not_measured() -> None:
    assert "PostgreSQL, per core" in limits()
    assert "PostgreSQL, per core" not in limits(postgres_cpu=None)


def test_rates_grow_with_the_gpus() -> None:
    few, many = (rates(DEMAND, INPUTS, ASSUMPTIONS, gpus) for gpus in (10, 1000))
    assert {name: pytest.approx(100 * value) for name, value in few.items()} == many
    assert few["shards"] == pytest.approx(few["jobs"] * WORKLOAD.shards_per_job)
    assert few["jobs"] * WORKLOAD.seconds_per_job == pytest.approx(8.0)


def test_webhooks_write_too() -> None:
    without, all_jobs = (
        rates(DEMAND, INPUTS, replace(ASSUMPTIONS, webhook_share=share), 10) for share in (0.0, 1.0)
    )
    assert without["webhook_messages"] == 0
    extra = all_jobs["write_transactions"] - without["write_transactions"]
    assert extra == pytest.approx(all_jobs["jobs"] * INPUTS.webhook_writes)


def test_idle_time_is_part_of_the_cost() -> None:
    assert cost_per_result(10.0, 1.8, 1.0) == pytest.approx(0.005)
    assert cost_per_result(10.0, 1.8, 0.5) == pytest.approx(0.01)


@pytest.mark.parametrize("utilisation", [0.0, -0.1, 1.01])
def test_rejects_an_impossible_utilisation(utilisation: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        cost_per_result(10.0, 1.8, utilisation)


def test_captures_wait_for_the_flush_of_the_one_before() -> None:
    found = limits(replace(ASSUMPTIONS, postgres_flush=0.01))
    # A hundred jobs a second, each of which takes WORKLOAD.seconds_per_job of a GPU.
    expected = 100 * WORKLOAD.seconds_per_job / 0.8
    assert found["PostgreSQL, one capture per flush of 10 ms"] == pytest.approx(expected, rel=0.01)

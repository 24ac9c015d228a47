"""From measurements to costs, and what is said of files without them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.bench.cluster_simulation.decision_cost import DecisionCost, busy_scheduler, fit_cost, measure
from scripts.bench.cluster_simulation.inputs import (
    INPUTS_FILE,
    TYPICAL_STEPS,
    InputsError,
    PerJob,
    load_inputs,
    load_service_rates,
    parse_inputs,
    split_cost,
)
from tests.support.cluster_inputs import IMAGE, VIDEO, document


def test_splits_a_cost_into_parts_per_job_and_per_result() -> None:
    assert split_cost(5.0, 14.0, 4) == PerJob(2.0, 3.0)
    assert PerJob(2.0, 3.0).of(10) == 32.0
    # Noise never gives a negative part.
    assert split_cost(5.0, 4.0, 4) == PerJob(5.0, 0.0)


def test_costs_are_those_of_a_typical_result() -> None:
    inputs = parse_inputs(document())
    assert inputs.loop.job == pytest.approx(0.002)
    assert inputs.loop.shard == pytest.approx((3.0 + 0.1 * TYPICAL_STEPS + 5.0) / 1e3, rel=1e-6)
    assert (inputs.writes, inputs.statements) == (PerJob(1.0, 1.0), PerJob(10.0, 5.0))
    assert inputs.messages == PerJob(6.0, 2.0)
    assert inputs.message_bytes == PerJob(100.0, 50.0)
    assert inputs.simulated_output_bytes == pytest.approx(2e6)
    assert inputs.webhook_writes == 1.5
    assert inputs.webhook_loop == pytest.approx(0.004)
    assert inputs.sqlite_cpu == pytest.approx(0.001)
    assert inputs.postgres_cpu == pytest.approx(0.001)


def test_postgresql_need_not_have_been_measured() -> None:
    measured = document()
    measured["result"]["postgres"] = None
    inputs = parse_inputs(measured)
    assert (inputs.postgres_cpu, inputs.postgres_jobs_per_second) == (None, None)


def test_rejects_a_missing_file_and_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputsError, match=r"none\.json does not exist; run .*measure_cluster_inputs"):
        load_inputs(tmp_path / "none.json")


@pytest.mark.parametrize("part", ["service", "decisions", "sqlite", "commit"])
def test_rejects_a_file_without_a_part_and_names_it(tmp_path: Path, part: str) -> None:
    measured = document()
    del measured["result"][part]
    file = tmp_path / "inputs.json"
    file.write_text(json.dumps(measured))
    with pytest.raises(InputsError, match=f"inputs.json lacks measurements.*'{part}'"):
        load_inputs(file)


def test_the_measurements_that_ship_are_complete() -> None:
    inputs = load_inputs(INPUTS_FILE)
    assert inputs.commit
    assert inputs.loop.of(1) > 0
    assert inputs.process.of(1) >= inputs.loop.of(1)
    assert inputs.writes.of(1) == pytest.approx(5.0, abs=0.5)
    assert list(inputs.overhead) == sorted(inputs.overhead)
    assert inputs.decision.per_candidate_us > 0


def test_reads_how_many_jobs_whole_services_did(tmp_path: Path) -> None:
    file = tmp_path / "stores.json"
    assert load_service_rates(file) == {}
    row = {"callers": 8, "sqlite_per_second": 20.0, "postgres_per_second": 9.0, "ratio": 0.45}
    file.write_text(json.dumps({"machine": {"cores": 2, "load": 1.5}, "result": {"end_to_end": [row]}}))
    where = "all on 2 cores, load 1.5"
    assert load_service_rates(file) == {f"{where}, SQLite": 20.0, f"{where}, PostgreSQL": 9.0}
    file.write_text(json.dumps({"machine": {}, "result": {"end_to_end": [row]}}))
    with pytest.raises(InputsError, match=r"stores\.json lacks measurements"):
        load_service_rates(file)


def test_finds_the_formula_of_decisions() -> None:
    cost = fit_cost(document()["result"]["decisions"])
    assert cost.base_us == pytest.approx(3.0)
    assert cost.per_instance_us == pytest.approx(0.1)
    assert cost.per_candidate_us == pytest.approx(5.0)
    assert cost.with_slot(100, 16) == pytest.approx((3 + 10 + 5 * 1600) / 1e6)


def test_rejects_rows_of_one_size() -> None:
    row = {"instances": 8, "heads": 1, "slot_us": 40.0, "no_slot_us": 3.0}
    with pytest.raises(ValueError, match="different numbers of instances"):
        fit_cost([row, row])


def test_a_full_fleet_is_more_work_for_each_model_that_waits() -> None:
    cost = DecisionCost(1.0, 0.1, 5.0)
    assert cost.without_slot(10) < cost.with_slot(10, 1) < cost.with_slot(10, 2) < cost.with_slot(20, 2)


def test_decisions_are_measured_on_busy_instances() -> None:
    scheduler = busy_scheduler([IMAGE, VIDEO], 5)
    assert [len(instance.assignments) for instance in scheduler.instances.values()] == [2] * 5
    assert all(instance.served_models is None for instance in scheduler.instances.values())
    row = measure([IMAGE, VIDEO], 5, 4, 3)
    assert (row["instances"], row["heads"], row["waiting"]) == (5, 2, 10)

"""How much of a run is done: one number that only grows, for any graph and any order of nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.execution.progress_estimator import SAMPLING, Gauge

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
SAMPLER = {"steps": 4, "latent_image": ["latent", 0]}


def graph(**inputs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {id: {"class_type": "Any", "inputs": given} for id, given in inputs.items()}


def test_a_sampler_has_most_of_it() -> None:
    gauge = Gauge(graph(load={}, latent={}, sample=SAMPLER, decode={}, save={}))
    rest = (1 - SAMPLING) / 4
    assert gauge.begins("load") == 0
    assert gauge.begins("latent") == pytest.approx(rest)
    assert gauge.begins("sample") == pytest.approx(2 * rest)
    assert gauge.steps("sample", 2, 4) == pytest.approx(2 * rest + SAMPLING / 2)
    assert gauge.steps("sample", 4, 4) == pytest.approx(2 * rest + SAMPLING)
    assert gauge.begins("decode") == pytest.approx(2 * rest + SAMPLING)
    assert gauge.begins("save") == pytest.approx(3 * rest + SAMPLING)


def test_two_samplers_share() -> None:
    gauge = Gauge(graph(first=SAMPLER, second={"sigmas": ["s", 0], "samples": ["first", 0]}, save={}))
    gauge.begins("first")
    assert gauge.steps("first", 1, 1) == pytest.approx(SAMPLING / 2)
    gauge.begins("second")
    assert gauge.steps("second", 5, 10) == pytest.approx(SAMPLING * 3 / 4)


def test_without_a_sampler_all_nodes_count_alike() -> None:
    gauge = Gauge(graph(load={}, enlarge={}))
    gauge.begins("load")
    gauge.begins("enlarge")
    assert gauge.steps("enlarge", 1, 2) == pytest.approx(0.75)


def test_nothing_but_a_sampler() -> None:
    gauge = Gauge(graph(sample=SAMPLER))
    gauge.begins("sample")
    assert gauge.steps("sample", 3, 4) == pytest.approx(0.75)


def test_an_unknown_graph_tells_nothing_wrong() -> None:
    gauge = Gauge({})
    assert [gauge.begins("any"), gauge.steps("any", 1, 2)] == [0, 0]


@given(st.lists(st.tuples(st.sampled_from("abcx"), st.floats(-1, 9), st.floats(-1, 9))))
def test_it_only_grows_and_stays_within_0_and_1(told: list[tuple[str, float, float]]) -> None:
    gauge = Gauge(graph(a={}, b=SAMPLER, c={}))
    fractions = [
        gauge.begins(node) if maximum < 0 else gauge.steps(node, value, maximum)
        for node, value, maximum in told
    ]
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)


@pytest.mark.parametrize("file", sorted(WORKFLOWS.glob("*/graph.json")), ids=lambda file: file.parent.name)
def test_every_shipped_graph_comes_close_to_its_end(file: Path) -> None:
    nodes = json.loads(file.read_text())
    gauge = Gauge(nodes)
    assert [gauge.begins(node) for node in nodes][-1] < 1
    assert gauge.steps(list(nodes)[-1], 1, 1) == pytest.approx(1)


def test_a_trainer_has_most_of_it_too() -> None:
    gauge = Gauge(graph(load={}, train={"steps": 10, "latents": ["encoded", 0]}, save={}))
    gauge.begins("load")
    before = gauge.begins("train")
    assert gauge.steps("train", 5, 10) == pytest.approx(before + SAMPLING / 2)

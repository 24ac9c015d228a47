"""How much of a run is done: one number that only grows, for any graph and any order of nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.execution.progress_estimator import SAMPLING_SHARE, ProgressEstimator

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
SAMPLER = {"steps": 4, "latent_image": ["latent", 0]}


def graph(**inputs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {id: {"class_type": "Any", "inputs": given} for id, given in inputs.items()}


def test_a_sampler_has_most_of_it() -> None:
    gauge = ProgressEstimator(graph(load={}, latent={}, sample=SAMPLER, decode={}, save={}))
    rest = (1 - SAMPLING_SHARE) / 4
    assert gauge.start_node("load") == 0
    assert gauge.start_node("latent") == pytest.approx(rest)
    assert gauge.start_node("sample") == pytest.approx(2 * rest)
    assert gauge.update_node("sample", 2, 4) == pytest.approx(2 * rest + SAMPLING_SHARE / 2)
    assert gauge.update_node("sample", 4, 4) == pytest.approx(2 * rest + SAMPLING_SHARE)
    assert gauge.start_node("decode") == pytest.approx(2 * rest + SAMPLING_SHARE)
    assert gauge.start_node("save") == pytest.approx(3 * rest + SAMPLING_SHARE)


def test_two_samplers_share() -> None:
    gauge = ProgressEstimator(
        graph(first=SAMPLER, second={"sigmas": ["s", 0], "samples": ["first", 0]}, save={})
    )
    gauge.start_node("first")
    assert gauge.update_node("first", 1, 1) == pytest.approx(SAMPLING_SHARE / 2)
    gauge.start_node("second")
    assert gauge.update_node("second", 5, 10) == pytest.approx(SAMPLING_SHARE * 3 / 4)


def test_without_a_sampler_all_nodes_count_alike() -> None:
    gauge = ProgressEstimator(graph(load={}, enlarge={}))
    gauge.start_node("load")
    gauge.start_node("enlarge")
    assert gauge.update_node("enlarge", 1, 2) == pytest.approx(0.75)


def test_nothing_but_a_sampler() -> None:
    gauge = ProgressEstimator(graph(sample=SAMPLER))
    gauge.start_node("sample")
    assert gauge.update_node("sample", 3, 4) == pytest.approx(0.75)


def test_an_unknown_graph_tells_nothing_wrong() -> None:
    gauge = ProgressEstimator({})
    assert [gauge.start_node("any"), gauge.update_node("any", 1, 2)] == [0, 0]


@given(st.lists(st.tuples(st.sampled_from("abcx"), st.floats(-1, 9), st.floats(-1, 9))))
def test_it_only_grows_and_stays_within_0_and_1(told: list[tuple[str, float, float]]) -> None:
    gauge = ProgressEstimator(graph(a={}, b=SAMPLER, c={}))
    fractions = [
        gauge.start_node(node) if maximum < 0 else gauge.update_node(node, value, maximum)
        for node, value, maximum in told
    ]
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)


@pytest.mark.parametrize("file", sorted(WORKFLOWS.glob("*/graph.json")), ids=lambda file: file.parent.name)
def test_every_shipped_graph_comes_close_to_its_end(file: Path) -> None:
    nodes = json.loads(file.read_text())
    gauge = ProgressEstimator(nodes)
    assert [gauge.start_node(node) for node in nodes][-1] < 1
    assert gauge.update_node(list(nodes)[-1], 1, 1) == pytest.approx(1)


def test_a_trainer_has_most_of_it_too() -> None:
    gauge = ProgressEstimator(graph(load={}, train={"steps": 10, "latents": ["encoded", 0]}, save={}))
    gauge.start_node("load")
    before = gauge.start_node("train")
    assert gauge.update_node("train", 5, 10) == pytest.approx(before + SAMPLING_SHARE / 2)

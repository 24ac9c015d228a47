"""The progress of a run is one fraction that never decreases, for any graph and order of nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.execution.results.progress_estimator import SAMPLING_SHARE, ProgressEstimator

WORKFLOWS = Path(__file__).resolve().parents[3] / "workflows"
SAMPLER = {"steps": 4, "latent_image": ["latent", 0]}


def graph(**inputs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {id: {"class_type": "Any", "inputs": given} for id, given in inputs.items()}


def test_gives_a_sampler_most_of_the_progress() -> None:
    estimator = ProgressEstimator(graph(load={}, latent={}, sample=SAMPLER, decode={}, save={}))
    rest = (1 - SAMPLING_SHARE) / 4
    assert estimator.start_node("load") == 0
    assert estimator.start_node("latent") == pytest.approx(rest)
    assert estimator.start_node("sample") == pytest.approx(2 * rest)
    assert estimator.update_node("sample", 2, 4) == pytest.approx(2 * rest + SAMPLING_SHARE / 2)
    assert estimator.update_node("sample", 4, 4) == pytest.approx(2 * rest + SAMPLING_SHARE)
    assert estimator.start_node("decode") == pytest.approx(2 * rest + SAMPLING_SHARE)
    assert estimator.start_node("save") == pytest.approx(3 * rest + SAMPLING_SHARE)


def test_divides_the_sampling_share_between_two_samplers() -> None:
    estimator = ProgressEstimator(
        graph(first=SAMPLER, second={"sigmas": ["s", 0], "samples": ["first", 0]}, save={})
    )
    estimator.start_node("first")
    assert estimator.update_node("first", 1, 1) == pytest.approx(SAMPLING_SHARE / 2)
    estimator.start_node("second")
    assert estimator.update_node("second", 5, 10) == pytest.approx(SAMPLING_SHARE * 3 / 4)


def test_counts_all_nodes_equally_without_a_sampler() -> None:
    estimator = ProgressEstimator(graph(load={}, enlarge={}))
    estimator.start_node("load")
    estimator.start_node("enlarge")
    assert estimator.update_node("enlarge", 1, 2) == pytest.approx(0.75)


def test_gives_a_single_sampler_all_of_the_progress() -> None:
    estimator = ProgressEstimator(graph(sample=SAMPLER))
    estimator.start_node("sample")
    assert estimator.update_node("sample", 3, 4) == pytest.approx(0.75)


def test_reports_no_progress_for_an_empty_graph() -> None:
    estimator = ProgressEstimator({})
    assert [estimator.start_node("any"), estimator.update_node("any", 1, 2)] == [0, 0]


@given(st.lists(st.tuples(st.sampled_from("abcx"), st.floats(-1, 9), st.floats(-1, 9))))
def test_never_decreases_and_stays_between_0_and_1(events: list[tuple[str, float, float]]) -> None:
    estimator = ProgressEstimator(graph(a={}, b=SAMPLER, c={}))
    fractions = [
        estimator.start_node(node) if maximum < 0 else estimator.update_node(node, value, maximum)
        for node, value, maximum in events
    ]
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)


@pytest.mark.parametrize("file", sorted(WORKFLOWS.glob("*/graph.json")), ids=lambda file: file.parent.name)
def test_reaches_the_end_of_every_shipped_graph(file: Path) -> None:
    nodes = json.loads(file.read_text())
    estimator = ProgressEstimator(nodes)
    assert [estimator.start_node(node) for node in nodes][-1] < 1
    assert estimator.update_node(list(nodes)[-1], 1, 1) == pytest.approx(1)


def test_gives_a_trainer_most_of_the_progress() -> None:
    estimator = ProgressEstimator(graph(load={}, train={"steps": 10, "latents": ["encoded", 0]}, save={}))
    estimator.start_node("load")
    before = estimator.start_node("train")
    assert estimator.update_node("train", 5, 10) == pytest.approx(before + SAMPLING_SHARE / 2)

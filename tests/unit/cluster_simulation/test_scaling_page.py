"""The tables of `docs/scaling.md` are those of the results that ship."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.bench.cluster_simulation.scaling_page import PAGE, RESULTS_FILE, markdown_table, render_page


def results() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(RESULTS_FILE.read_text("utf-8"))
    return document


def test_the_page_shows_the_results_that_ship() -> None:
    text = PAGE.read_text("utf-8")
    assert render_page(text, results()) == text, (
        "run `python -m scripts.bench.cluster_simulation.scaling_page`"
    )
    assert text.count("<!-- table ") == text.count("<!-- /table -->") == 12


def test_the_results_are_of_the_measurements_that_ship() -> None:
    measured = json.loads((RESULTS_FILE.parent / "cluster_inputs.json").read_text("utf-8"))
    inputs = results()["result"]["inputs"]
    assert (inputs["measured_at"], inputs["commit"]) == (measured["at"], measured["result"]["commit"])


def test_replaces_tables_and_nothing_else() -> None:
    page = "before\n<!-- table limits -->\nold\n<!-- /table -->\nafter\n"
    row = {"part": "S3", "basis": "assumed", "gpus": 1234, "gpus_saturated": 98765}
    found = render_page(page, {"result": {"limits": [row]}})
    assert found.startswith("before\n<!-- table limits -->\n| part | basis |")
    assert "| S3 | assumed | 1,200 | 99,000 |\n<!-- /table -->\nafter\n" in found
    assert "old" not in found


def test_rejects_a_table_that_does_not_exist() -> None:
    with pytest.raises(KeyError, match="nothing"):
        render_page("<!-- table nothing -->\n<!-- /table -->", {})


def test_numbers_stand_to_the_right() -> None:
    assert markdown_table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |\n"

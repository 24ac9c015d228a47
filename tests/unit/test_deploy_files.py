"""The dashboard and the alert rules are right in themselves, and name nothing that is not documented."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.support.deploy_files import UP, asked, dashboard, documented, expressions, parsed, rules

SUFFIXES = ("_bucket", "_sum", "_count")
PANELS = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def series() -> set[str]:
    """Every documented series: a histogram has three."""
    return {
        series
        for row in documented().values()
        for series in ([row.name + suffix for suffix in SUFFIXES] if row.type == "histogram" else [row.name])
    }


@pytest.mark.parametrize("expression", expressions())
def test_prometheus_understands_it_and_it_names_what_is_documented(expression: str) -> None:
    parsed(expression)
    found = list(asked(expression))
    assert found
    for one in found:
        assert one.name in series() | {UP} or one.name.startswith("process_"), one.name


def test_a_wrong_expression_is_noticed() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        parsed("sum by (model) (rate(pixelfactory_wait_seconds_count[5m])")


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = {one.name for panel in PANELS for target in panel["targets"] for one in asked(target["expr"])}
    missing = {
        row.name
        for row in documented().values()
        if not shown & {row.name, *(row.name + suffix for suffix in SUFFIXES)}
    }
    assert missing == set()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "action"}


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) >= 10


def test_panels_do_not_overlap_and_ask_the_chosen_prometheus() -> None:
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
    for one, other in itertools.combinations([panel["gridPos"] for panel in PANELS], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


def test_variables_are_defined() -> None:
    names = {variable["name"] for variable in dashboard()["templating"]["list"]}
    assert names == {"datasource", "model", "instance"}

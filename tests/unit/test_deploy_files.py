"""The dashboard and the alert rules are right in themselves, and name nothing that is not documented."""

from __future__ import annotations

import copy
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, ValidationError

from tests.support.deploy_files import UP, asked, dashboards, documented, expressions, parsed, rules

SUFFIXES = ("_bucket", "_sum", "_count")
DASHBOARDS = dashboards()
PANELS = {
    name: [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    for name, dashboard in DASHBOARDS.items()
}
#: What Grafana reads of a dashboard (schema version 39), as far as ours use it. It ignores fields that it
#: does not know, so a misspelt one would have no effect.
SCHEMA_FILE = Path(__file__).parents[1] / "support" / "grafana_dashboard.schema.json"
SCHEMA = Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))


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
    panels = PANELS["dashboard.json"]
    shown = {one.name for panel in panels for target in panel["targets"] for one in asked(target["expr"])}
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


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafana_knows_every_field_of_a_dashboard(name: str) -> None:
    SCHEMA.validate(DASHBOARDS[name])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("panels", 1, "fieldConfig", "defaults", "units"), "s"),
        (("panels", 1, "type"), "graph"),
        (("refrsh",), "5s"),
    ],
)
def test_a_misspelt_field_is_noticed(path: tuple[str | int, ...], value: str) -> None:
    changed = copy.deepcopy(DASHBOARDS["callers.json"])
    *parents, last = path
    place: Any = changed
    for key in parents:
        place = place[key]
    place[last] = value
    with pytest.raises(ValidationError):
        SCHEMA.validate(changed)


def test_dashboards_have_ids_of_their_own() -> None:
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_overlap_and_ask_the_chosen_prometheus(name: str) -> None:
    ids = [panel["id"] for panel in DASHBOARDS[name]["panels"]]
    assert len(ids) == len(set(ids))
    for panel in PANELS[name]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
    for one, other in itertools.combinations([panel["gridPos"] for panel in PANELS[name]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_are_defined(name: str) -> None:
    names = {variable["name"] for variable in DASHBOARDS[name]["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARDS[name]))) - {"__rate_interval", "__all"}
    assert names == used

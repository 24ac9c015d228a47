"""What the files under `scripts/deploy/` ask of Prometheus, and what their README says there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "scripts" / "deploy"
#: Prometheus' own word about a target.
UP = "up"
#: What Grafana puts in for its variables.
VARIABLES = {"$__rate_interval": "5m", "$model": ".*", "$instance": ".*"}
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*) ?\| (.+) \|$", re.MULTILINE)
_PROCESS = re.compile(r"`(process_\w+)`")


@dataclass(frozen=True)
class DocumentedMetric:
    """A row of the README."""

    name: str
    type: str
    labels: set[str]
    meaning: str


@dataclass(frozen=True)
class MetricSelector:
    """A series that an expression selects, and the labels that it names."""

    name: str
    labels: set[str]


def documented() -> dict[str, DocumentedMetric]:
    rows = _ROW.findall((DEPLOY / "README.md").read_text())
    return {
        name: DocumentedMetric(name, type_, set(filter(None, re.split(r"[, ]+", labels))), meaning)
        for name, type_, labels, meaning in rows
    }


def documented_of_the_process() -> set[str]:
    return set(_PROCESS.findall((DEPLOY / "README.md").read_text()))


def dashboards() -> dict[str, dict[str, Any]]:
    """Grafana's dashboards by file name."""
    return {name: json.loads((DEPLOY / name).read_text()) for name in ("dashboard.json", "callers.json")}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    panels = [
        target["expr"]
        for dashboard in dashboards().values()
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]
    return [*panels, *(rule["expr"] for rule in rules())]


def parsed(expression: str) -> promql_parser.Expr:
    """Raises ValueError where Prometheus would refuse it."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return promql_parser.parse(expression)


def asked(expression: str) -> Iterator[MetricSelector]:
    """Every series that the expression selects. The labels it groups by count for each of them."""
    grouped: set[str] = set()
    selectors: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            grouped.update(node.modifier.labels)
        if isinstance(node, promql_parser.VectorSelector):
            selectors.append(node)
        return True

    promql_parser.walk(parsed(expression), visit)
    for selector in selectors:
        named = {matcher.name for matcher in selector.matchers.matchers}
        yield MetricSelector(str(selector.name), grouped | named)

"""Says why a required input has no source: the node that gave it is muted or bypassed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.catalog.import_export.ui.ui_graph import NodeMode, UiGraph, is_ui_format, parse_ui_workflow

_WORDS = {NodeMode.MUTED: "muted", NodeMode.BYPASSED: "bypassed"}


def name_silent_sources(problems: Iterable[GraphProblem], data: Any) -> Iterator[GraphProblem]:
    """Yield the problems of a graph; those of missing inputs name the node of the canvas that is silent."""
    problems = list(problems)
    if not is_ui_format(data) or not any(each.code == "required_input_missing" for each in problems):
        yield from problems
        return
    graph = parse_ui_workflow(data).root
    for problem in problems:
        source = _find_silent_source(graph, problem)
        yield replace(problem, message=f"{problem.message}: {source}") if source else problem


def _find_silent_source(graph: UiGraph, problem: GraphProblem) -> str:
    """Return the muted or bypassed node that an input is linked to; empty if there is none."""
    node = graph.nodes.get(problem.node)
    if problem.code != "required_input_missing" or node is None:
        return ""
    links = (graph.links.get(each.link or "") for each in node.inputs if each.name == problem.input)
    for link in links:
        origin = graph.nodes.get(link.origin) if link else None
        if origin is not None and origin.mode in _WORDS:
            word = _WORDS[origin.mode]
            return f"node {origin.id} ({origin.type}), which gives it, is {word}; enable it, or link another"
    return ""

"""Finds values of a graph that would make a node read or write outside ComfyUI's folders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.catalog.checks.node_facts import NodeFacts, resolve_inputs
from orchestrator.catalog.rendering.expressions import is_template
from orchestrator.catalog.rendering.graph import ApiGraphView, parse_link

#: Of an expression, only its text literals count; requests cannot set what is none.
_TEXT_LITERAL = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_ABSOLUTE = re.compile(r"\s*(/|~[/\\]|\\\\|[A-Za-z]:[/\\]|file:)", re.ASCII)
_PARENT = re.compile(r"(^|[/\\])\s*\.\.\s*([/\\]|$)", re.ASCII)


def find_outside_paths(graph: ApiGraphView, facts: NodeFacts) -> Iterator[GraphProblem]:
    """Yield a problem for each value that is an absolute path or leaves its folder.

    Texts of several lines, such as prompts, are no paths; of an unknown class every text may be one.
    """
    for id, node in graph.items():
        entry = facts.get(str(node.get("class_type")))
        prose = _prose_inputs(entry, node["inputs"]) if entry else frozenset()
        for name, value in node["inputs"].items():
            if name in prose or not isinstance(value, str | list | dict) or parse_link(value) is not None:
                continue
            reasons = ((text, _describe(text)) for text in _texts(value))
            yield from (
                GraphProblem("path_outside", f"{reason} (got {text[:80]!r})", id, name)
                for text, reason in reasons
                if reason
            )


def _prose_inputs(entry: Mapping[str, Any], values: Mapping[str, Any]) -> frozenset[str]:
    try:
        inputs = resolve_inputs(entry, values)
    except (LookupError, TypeError, ValueError, AttributeError):
        return frozenset()
    return frozenset(
        name for name, item in inputs.items() if item.type == "STRING" and item.options.get("multiline")
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str) and is_template(value):
        yield from (first or second for first, second in _TEXT_LITERAL.findall(value))
    elif isinstance(value, str):
        yield value


def _describe(text: str) -> str:
    if _ABSOLUTE.match(text):
        return "must not be an absolute path"
    if _PARENT.search(text):
        return "must not lead out of its folder"
    return ""

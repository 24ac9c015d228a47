"""Compare the two graphs of a file, and take from the one in API format what the UI format does not say.

ComfyUI stores both: the workflow as drawn, whose widget values have positions, and the prompt as run, whose
values have names. Where the class of a node has changed since, only the names are certain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.catalog.checks.node_facts import NodeFacts, resolve_inputs
from orchestrator.catalog.import_export.ui.page_inputs import BUTTON_VALUES
from orchestrator.catalog.import_export.ui.ui_to_api import ConvertedWorkflow
from orchestrator.catalog.rendering.graph import ApiGraph, parse_link

#: Values that differ between the two graphs of one run.
_VOLATILE_INPUTS = frozenset({"seed", "noise_seed", "filename_prefix", "control_after_generate"})
#: Marks of texts that the frontend changes when it queues a prompt.
_CHANGED_TEXT_MARKS = ("{", "//", "/*", "%")
_MAX_SHOWN_CHARACTERS = 60


def compare_with_prompt(source: ConvertedWorkflow, prompt: ApiGraph, facts: NodeFacts) -> list[GraphProblem]:
    """Complete `source` from the prompt of the same file, and return where the two differ.

    Inputs of unknown classes, values whose positions do not fit, and missing links are taken from the prompt.
    """
    problems: list[GraphProblem] = []
    for id, node in source.graph.items():
        other = prompt.get(id)
        if other is None or other["class_type"] != node["class_type"]:
            continue
        entry = facts.get(node["class_type"])
        if entry is None or id in source.mismatches:
            _take_values(source, id, other, entry)
        _take_links(source, id, other)
        problems.extend(_differences(id, node, other, entry))
    return problems


def _take_values(
    source: ConvertedWorkflow, id: str, other: Mapping[str, Any], entry: Mapping[str, Any] | None
) -> None:
    """Replace the values of a node by those of the prompt, if its class takes all of them."""
    node = source.graph[id]
    named = _inputs_of_class(other, entry) if entry else other["inputs"]
    given = {name: value for name, value in named.items() if parse_link(value) is None}
    if entry is None:
        node["inputs"] |= given
        node["_meta"].pop("widgets_values", None)
        return
    links = {name: value for name, value in node["inputs"].items() if parse_link(value)}
    known = resolve_inputs(entry, {**given, **links})
    if given.keys() <= known.keys():
        rest = {name: item.default for name, item in known.items() if item.is_widget and name not in links}
        values = {name: value for name, value in {**rest, **given}.items() if value is not None}
        node["inputs"] = {**values, **links}
        del source.mismatches[id]


def _take_links(source: ConvertedWorkflow, id: str, other: Mapping[str, Any]) -> None:
    """Add the links of inputs that have neither a link nor a value in the UI format."""
    inputs = source.graph[id]["inputs"]
    for name, value in other["inputs"].items():
        link = parse_link(value)
        if link is not None and name not in inputs and link.node in source.graph:
            inputs[name] = value


def _differences(
    id: str, node: Mapping[str, Any], other: Mapping[str, Any], entry: Mapping[str, Any] | None
) -> Iterator[GraphProblem]:
    for name, value in node["inputs"].items():
        if name in _VOLATILE_INPUTS or name not in other["inputs"]:
            continue
        run = other["inputs"][name]
        if not _is_same(value, run):
            shown = " and ".join(repr(each)[:_MAX_SHOWN_CHARACTERS] for each in (value, run))
            message = f"the two graphs of the file differ: {shown}; check the value, and import one of them"
            yield GraphProblem("graphs_differ", message, id, name)
    if entry is None:
        return
    declared = resolve_inputs(entry, other["inputs"]).keys()
    named = _inputs_of_class(other, entry).keys()
    for name in sorted(named - node["inputs"].keys() - declared - _VOLATILE_INPUTS):
        if parse_link(other["inputs"][name]) is None and "upload" not in name:
            message = (
                "the run that made the file set this input, which the class does not have in this version"
            )
            yield GraphProblem("graphs_differ", message, id, name)


def _inputs_of_class(other: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a run without the values of buttons and previews of a page."""
    declared = resolve_inputs(entry, other["inputs"])
    return {
        name: value
        for name, value in other["inputs"].items()
        if name in declared or value not in BUTTON_VALUES
    }


def _is_same(value: Any, run: Any) -> bool:
    """Return whether the frontend may have made `run` of `value`; links are compared by presence only."""
    if parse_link(value) or parse_link(run):
        return bool(parse_link(value)) == bool(parse_link(run))
    if isinstance(value, str) and isinstance(run, str):
        is_changed = any(mark in value for mark in _CHANGED_TEXT_MARKS)
        return is_changed or value.replace("\\", "/") == run.replace("\\", "/")
    numbers = [each for each in (value, run) if isinstance(each, int | float) and not isinstance(each, bool)]
    return math.isclose(*numbers, rel_tol=1e-6) if len(numbers) == 2 else value == run

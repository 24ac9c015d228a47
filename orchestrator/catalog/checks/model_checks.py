"""Proof that a model renders right graphs for all kinds of requests, not only for its defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.catalog.checks.graph_checks import Problem, check_graph
from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.example_values import EXAMPLE_FOLDER, EXAMPLE_IMAGE
from orchestrator.catalog.parameters.values import (
    MAX_SEED,
    Dataset,
    Image,
    Images,
    Integer,
    Loras,
    Number,
    Parameter,
    Text,
)

EXAMPLE_LORA = "example"


def check_model(model: Model, facts: NodeFacts) -> list[Problem]:
    """The problems of every probe's graph, each told once."""
    found: dict[Problem, None] = {}
    for request in probes(model):
        found |= dict.fromkeys(check_request(model, request, facts))
    return list(found)


def check_request(model: Model, request: dict[str, Any], facts: NodeFacts) -> list[Problem]:
    """The problems of the graph for one request, with every variant of the weights declared."""
    try:
        graph = model.render(model.example(**request), filename_prefix="check")
    except CatalogError as error:
        return [Problem("template_error", str(error))]
    files = {weight.file for weight in model.manifest.weights}
    files |= {EXAMPLE_IMAGE, EXAMPLE_FOLDER, f"{EXAMPLE_LORA}.safetensors"}
    facts = {**model.source.node_facts, **facts}
    problems = check_graph(graph, facts, files)
    for output in model.outputs:
        entry = facts.get(graph[output.node]["class_type"], {}) if output.node in graph else None
        if entry is None:
            problems.append(Problem("output_missing", "an output is not there", output.node))
        elif not entry.get("output_node"):
            problems.append(Problem("output_missing", "is no output node", output.node))
    return problems


def probes(model: Model) -> Iterator[dict[str, Any]]:
    """Requests that differ from the defaults in one parameter each, then in all at once."""
    everything: dict[str, Any] = {}
    yield {}
    for name, spec in model.parameters.items():
        for value in _values(spec):
            yield _within_area(model, {name: value})
            everything[name] = value
    yield _within_area(model, everything)


def _values(spec: Parameter) -> list[Any]:
    """The ends of a parameter's range, or its choices; the last one is the richest."""
    match spec:
        case Integer() | Number():
            return [spec.minimum, spec.maximum]
        case Text():
            return list(spec.choices) or ["red {{ 7 * 7 }}"]
        case Image():
            return [EXAMPLE_IMAGE]
        case Images():
            return [[EXAMPLE_IMAGE], [EXAMPLE_IMAGE] * spec.max_items]
        case Dataset():
            return [EXAMPLE_FOLDER]
        case Loras():
            item = {"name": EXAMPLE_LORA, "strength": 0.5}
            return [[item], [item] * spec.max_items]
        case _:
            return [False, True] if spec.type == "boolean" else [0, MAX_SEED]


def _within_area(model: Model, request: dict[str, Any]) -> dict[str, Any]:
    """Both sides at their maximum may be more pixels than the model allows."""
    width, height = model.manifest.max_sides
    if "width" in request and "height" in request and "width" in model.parameters:
        return request | {"width": width - width % 8, "height": height - height % 8}
    spec = model.parameters.get("height")
    if "width" in request and isinstance(spec, Integer):
        return request | {"height": spec.minimum}
    spec = model.parameters.get("width")
    if "height" in request and isinstance(spec, Integer):
        return request | {"width": spec.minimum}
    return request

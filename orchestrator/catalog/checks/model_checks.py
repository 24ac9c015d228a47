"""Validate the graphs that a model renders for all kinds of requests, not only for its defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.catalog.checks.graph_checks import GraphProblem, validate_graph
from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.example_values import EXAMPLE_DATASET_FOLDER, EXAMPLE_IMAGE
from orchestrator.catalog.parameters.values import (
    MAX_SEED,
    DatasetParameter,
    ImageListParameter,
    ImageParameter,
    IntegerParameter,
    LoraListParameter,
    NumberParameter,
    Parameter,
    TextParameter,
)

EXAMPLE_LORA = "example"


def validate_model(model: Model, facts: NodeFacts) -> list[GraphProblem]:
    """Return the problems of the graphs of all probe requests, without duplicates."""
    found: dict[GraphProblem, None] = {}
    for request in probe_requests(model):
        found |= dict.fromkeys(validate_rendered_graph(model, request, facts))
    return list(found)


def validate_rendered_graph(model: Model, request: dict[str, Any], facts: NodeFacts) -> list[GraphProblem]:
    """Return the problems of the graph for one request, assuming that all weight files exist."""
    try:
        graph = model.render_graph(model.example_params(**request), filename_prefix="check")
    except CatalogError as error:
        return [GraphProblem("template_error", str(error))]
    files = {weight.file for weight in model.manifest.weights}
    files |= {EXAMPLE_IMAGE, EXAMPLE_DATASET_FOLDER, f"{EXAMPLE_LORA}.safetensors"}
    facts = {**model.source.node_facts, **facts}
    problems = validate_graph(graph, facts, files)
    for output in model.outputs:
        entry = facts.get(graph[output.node]["class_type"], {}) if output.node in graph else None
        if entry is None:
            problems.append(GraphProblem("output_missing", "the output is not in the graph", output.node))
        elif not entry.get("output_node"):
            problems.append(GraphProblem("output_missing", "the node is not an output node", output.node))
    return problems


def probe_requests(model: Model) -> Iterator[dict[str, Any]]:
    """Yield requests that differ from the defaults in one parameter each, then in all at once."""
    everything: dict[str, Any] = {}
    yield {}
    for name, spec in model.parameters.items():
        for value in _boundary_values(spec):
            yield _limit_area(model, {name: value})
            everything[name] = value
    yield _limit_area(model, everything)


def _boundary_values(spec: Parameter) -> list[Any]:
    """Return the ends of a parameter's range, or its choices; the last value uses the most features."""
    match spec:
        case IntegerParameter():
            return [spec.minimum, spec.largest_allowed]
        case NumberParameter():
            return [spec.minimum, spec.maximum]
        case TextParameter():
            return list(spec.choices) or ["red {{ 7 * 7 }}"]
        case ImageParameter():
            return [EXAMPLE_IMAGE]
        case ImageListParameter():
            return [[EXAMPLE_IMAGE], [EXAMPLE_IMAGE] * spec.max_items]
        case DatasetParameter():
            return [EXAMPLE_DATASET_FOLDER]
        case LoraListParameter():
            item = {"name": EXAMPLE_LORA, "strength": 0.5}
            return [[item], [item] * spec.max_items]
        case _:
            return [False, True] if spec.type == "boolean" else [0, MAX_SEED]


def _limit_area(model: Model, request: dict[str, Any]) -> dict[str, Any]:
    """Limit the size of a request, since both sides at their maximum may exceed the allowed area."""
    sizes = model.output_sizes
    if "width" in request and "height" in request and sizes is not None:
        return request | sizes.fit_size(*model.manifest.max_size).to_params()
    spec = model.parameters.get("height")
    if "width" in request and isinstance(spec, IntegerParameter):
        return request | {"height": spec.minimum}
    spec = model.parameters.get("width")
    if "height" in request and isinstance(spec, IntegerParameter):
        return request | {"width": spec.minimum}
    return request

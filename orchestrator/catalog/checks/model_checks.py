"""Validate the graphs that a model renders for all kinds of requests, not only for its defaults."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.catalog.checks.effects import EffectProbe
from orchestrator.catalog.checks.graph_checks import GraphProblem, GraphValidator
from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.model import Model
from orchestrator.catalog.pack_options import with_pack_options
from orchestrator.catalog.parameters.canvases import has_canvas
from orchestrator.catalog.parameters.example_values import (
    EXAMPLE_AUDIO,
    EXAMPLE_DATASET_FOLDER,
    EXAMPLE_IMAGE,
    EXAMPLE_VIDEO,
)
from orchestrator.catalog.parameters.loras import SERVICE_PARAMETERS
from orchestrator.catalog.parameters.values import (
    AudioParameter,
    DatasetParameter,
    ImageListParameter,
    ImageParameter,
    IntegerParameter,
    LoraListParameter,
    NumberParameter,
    Parameter,
    SeedParameter,
    TextParameter,
    VideoParameter,
)
from orchestrator.catalog.rendering.render import LastRendered
from orchestrator.errors import InvalidRequest

EXAMPLE_LORA = "example"
#: How the description of a parameter begins that clients send and the model ignores.
NOT_USED = "Not used"


def validate_model(model: Model, facts: NodeFacts) -> list[GraphProblem]:
    """Return the problems of the graphs of all probe requests, and parameters without an effect."""
    found: dict[GraphProblem, None] = {}
    validator, last = _validator_for(model, facts), LastRendered()
    for request in probe_requests(model):
        found |= dict.fromkeys(_validate_request(model, request, validator, last))
    ineffective = (_ineffective_problem(name) for name in ineffective_parameters(model, last))
    return [*found, *ineffective, *_odd_side_problems(model)]


def _odd_side_problems(model: Model) -> Iterator[GraphProblem]:
    """Yield the sides of a video that may be odd: the usual encoders refuse them, after the whole run."""
    if all(output.media != "video" for output in model.outputs):
        return
    for name in ("width", "height"):
        spec = model.parameters.get(name)
        if isinstance(spec, IntegerParameter) and spec.allows_odd:
            message = f"`{name}` may be odd, and H.264 encodes no odd sides; set `step` to a multiple of 2"
            yield GraphProblem("odd_video_side", message)


def _ineffective_problem(name: str) -> GraphProblem:
    message = f"the parameter `{name}` changes nothing that an output depends on; use it or remove it"
    return GraphProblem("parameter_without_effect", message)


def ineffective_parameters(model: Model, last: LastRendered | None = None) -> list[str]:
    """Return the parameters that change the result of no probe request, alone or beside all others.

    Graphs share nodes with the one that was rendered `last`.
    """
    *_, everything = probe_requests(model)
    probes = [_Probe(model, {}, last), _Probe(model, everything, last)]
    return [
        name
        for name in model.parameters
        if not _works_without_node(model, name) and not any(probe.has_effect(name) for probe in probes)
    ]


def _works_without_node(model: Model, name: str) -> bool:
    """Return whether the service itself applies a parameter, or its description says that it is not used."""
    if name in SERVICE_PARAMETERS or model.parameters[name].description.startswith(NOT_USED):
        return True
    return name in ("width", "height") and has_canvas(model)


class _Probe:
    """Changes one parameter of a request at a time."""

    def __init__(self, model: Model, request: dict[str, Any], last: LastRendered | None) -> None:
        self._model = model
        self._last = last
        self._request = request
        self._params = next(self._validate([request]), None)
        self._effects = None if self._params is None else self._compare_with(self._params)

    def has_effect(self, name: str) -> bool:
        """Return whether two values of a parameter lead to different results."""
        spec = self._model.parameters[name]
        values = [*_boundary_values(spec), spec.default, *_other_example(spec)]
        others = {key: value for key, value in self._request.items() if key != name}
        requests = [*self._validate(others | {name: value} for value in values)]
        # The graph of the request itself serves for most parameters.
        is_shared = all(self._differs_in(params, name) for params in requests)
        effects = self._effects if is_shared else None
        for params in requests:
            if effects is None:
                effects = self._compare_with(params)
            elif self._changes(effects, params):
                return True
        return False

    def _validate(self, requests: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the parameters of the requests whose values do not exclude each other."""
        for request in requests:
            with contextlib.suppress(CatalogError, InvalidRequest):
                yield self._model.example_params(**_limit_area(self._model, request))

    def _differs_in(self, params: dict[str, Any], name: str) -> bool:
        """Return whether parameters differ from those of the request in no other one."""
        return self._params is not None and {**self._params, name: None} == {**params, name: None}

    def _compare_with(self, params: dict[str, Any]) -> EffectProbe | None:
        """Return a comparison with the result of a request; None for a problem of the template."""
        try:
            return EffectProbe(self._model, params, self._last)
        except CatalogError:
            return None

    def _changes(self, effects: EffectProbe, params: dict[str, Any]) -> bool:
        try:
            return effects.has_effect(params)
        except CatalogError:
            return False


def _other_example(spec: Parameter) -> list[Any]:
    """Return a second value for parameters that may have only one boundary."""
    match spec:
        case ImageParameter() | VideoParameter() | AudioParameter() | DatasetParameter():
            return [f"other-{EXAMPLE_IMAGE}"]
        case ImageListParameter():
            return [[f"other-{EXAMPLE_IMAGE}"]]
        case TextParameter() if not spec.choices:
            return ["green"]
        case _:
            return []


def validate_rendered_graph(model: Model, request: dict[str, Any], facts: NodeFacts) -> list[GraphProblem]:
    """Return the problems of the graph for one request, assuming that all weight files exist."""
    return _validate_request(model, request, _validator_for(model, facts), LastRendered())


def _validator_for(model: Model, facts: NodeFacts) -> GraphValidator:
    files = {weight.file for weight in model.manifest.weights}
    files |= {
        EXAMPLE_IMAGE,
        EXAMPLE_VIDEO,
        EXAMPLE_AUDIO,
        EXAMPLE_DATASET_FOLDER,
        f"{EXAMPLE_LORA}.safetensors",
    }
    facts = {**model.source.node_facts, **with_pack_options(facts, model.source.node_facts)}
    return GraphValidator(facts, files)


def _validate_request(
    model: Model, request: dict[str, Any], validator: GraphValidator, last: LastRendered
) -> list[GraphProblem]:
    try:
        graph = model.render_graph(model.example_params(**request), filename_prefix="check", last=last)
    except CatalogError as error:
        return [GraphProblem("template_error", str(error))]
    problems = validator.validate(graph)
    for output in model.outputs:
        if output.node not in graph:
            problems.append(GraphProblem("output_missing", "the output is not in the graph", output.node))
        elif not validator.is_output(graph[output.node]):
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
        case VideoParameter():
            return [EXAMPLE_VIDEO]
        case AudioParameter():
            return [EXAMPLE_AUDIO]
        case DatasetParameter():
            return [EXAMPLE_DATASET_FOLDER]
        case LoraListParameter():
            item = {"name": EXAMPLE_LORA, "strength": 0.5}
            return [[item], [item] * spec.max_items]
        case SeedParameter():
            return [0, spec.max]
        case _:
            return [False, True]


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

"""Which parameters of a request change the result: compares what the outputs of rendered graphs depend on.

A negative prompt has no effect where the scale of the classifier-free guidance is 1: the sampler leaves it
out. So have links of nodes that pass positive and negative conditioning through side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.model import Model
from orchestrator.catalog.rendering.graph import ApiGraph, ApiGraphView, Link, parse_link
from orchestrator.catalog.rendering.render import LastRendered

#: Name of the parameter that is the scale of the classifier-free guidance, the first that a model has.
GUIDANCE_PARAMETERS = ("true_cfg_scale", "cfg_scale")
#: Parameters whose effect depends on the values of others, so that each request is checked for it.
_CONDITIONAL_PARAMETERS = ("negative_prompt", *GUIDANCE_PARAMETERS)
#: With a node of this class, samplers use the negative conditioning at any scale.
_NEGATIVE_AT_ANY_SCALE = "NAGuidance"

#: The inputs of each node that the outputs depend on.
UsedInputs = dict[str, dict[str, Any]]


def find_used_inputs(graph: ApiGraphView, outputs: Iterable[str]) -> UsedInputs:
    """Return the nodes that the `outputs` depend on: the used inputs, and the class under an empty name."""
    skips_negative = all(node["class_type"] != _NEGATIVE_AT_ANY_SCALE for node in graph.values())
    used: UsedInputs = {}
    visited: set[Link] = set()
    waiting = [Link(id, 0) for id in outputs if id in graph]
    while waiting:
        output = waiting.pop()
        if output in visited:
            continue
        visited.add(output)
        inputs = dict(_inputs_of_output(graph[output.node], output.slot, skips_negative=skips_negative))
        used.setdefault(output.node, {"": graph[output.node]["class_type"]}).update(inputs)
        links = (parse_link(value) for value in inputs.values())
        waiting += [link for link in links if link is not None and link.node in graph]
    return used


def _inputs_of_output(
    node: Mapping[str, Any], slot: int, *, skips_negative: bool
) -> Iterator[tuple[str, Any]]:
    """Yield the inputs that an output of a node depends on."""
    inputs: Mapping[str, Any] = node.get("inputs") or {}
    skipped: set[str] = set()
    if {"positive", "negative"} <= inputs.keys() and "cfg" not in inputs:
        # The first two outputs are the two inputs, changed alike; the others are latents.
        skipped = {"positive", "negative"} - {("positive", "negative", "")[min(slot, 2)]}
    elif inputs.get("cfg") == 1 and skips_negative:
        skipped = {"negative"}
    return ((name, value) for name, value in inputs.items() if name not in skipped)


def describe_ineffective(
    model: Model, params: Mapping[str, Any], request: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return a sentence for each parameter of a request that the other ones rob of its effect.

    `params` are the validated parameters, `request` those that were sent.
    """
    conditional = [name for name in _CONDITIONAL_PARAMETERS if name in model.parameters]
    try:
        sentences = [_describe(model, params, name) for name in conditional if _is_set(model, name, request)]
        return tuple(sentence for sentence in sentences if sentence)
    except CatalogError:
        return ()  # the run reports it


def _is_set(model: Model, name: str, request: Mapping[str, Any]) -> bool:
    value = request.get(name)
    return value not in (None, model.parameters[name].default) and str(value).strip() != ""


def _describe(model: Model, params: Mapping[str, Any], name: str) -> str:
    rendered = used_inputs_of_request(model, params)
    scale = next((each for each in GUIDANCE_PARAMETERS if each in model.parameters), "")
    if name == "negative_prompt":
        if rendered != used_inputs_of_request(model, {**params, name: ""}):
            return ""
        way_out = f"; send a `{scale}` above 1" if scale else ""
        return f"`{name}` has no effect: the guidance of {model.id} is at 1{way_out}"
    value = params[name]
    if value < 1 and rendered == used_inputs_of_request(model, {**params, name: 1.0}):
        return f"`{name}` of {value:g} has the effect of 1, the least that {model.id} can use"
    return ""


def used_inputs_of_request(model: Model, params: Mapping[str, Any]) -> UsedInputs:
    """Return what the outputs of a model depend on for validated parameters. Raises CatalogError."""
    return _used_inputs(model, _render(model, params))


def _used_inputs(model: Model, graph: ApiGraphView) -> UsedInputs:
    return find_used_inputs(graph, (output.node for output in model.outputs))


def _render(model: Model, params: Mapping[str, Any], last: LastRendered | None = None) -> ApiGraph:
    params = {**params, "seed": params.get("seed") or 0}
    return model.render_graph(params, filename_prefix="effects", last=last)


class EffectProbe:
    """Says which requests have another result than a first one. Raises CatalogError where a graph fails."""

    def __init__(self, model: Model, params: Mapping[str, Any], last: LastRendered | None = None) -> None:
        """Render the graph of the first request, with its validated parameters.

        It shares nodes with the graph that was rendered `last`.
        """
        self._model = model
        self._first = replace(last or LastRendered())
        self._graph = _render(model, params, self._first)
        self._used = _used_inputs(model, self._graph)

    def has_effect(self, params: Mapping[str, Any]) -> bool:
        """Return whether the outputs depend on other values than those of the first request."""
        graph = _render(self._model, params, replace(self._first))
        changed = [id for id, node in graph.items() if node is not self._graph.get(id)]
        used = [id for id in changed if id in self._used]
        if not used and graph.keys() == self._graph.keys():
            return False
        # Most changes show here, without following the links of a large graph.
        if any(self._differs(id, graph[id]["inputs"]) for id in used):
            return True
        return _used_inputs(self._model, graph) != self._used

    def _differs(self, id: str, inputs: Mapping[str, Any]) -> bool:
        return any(name and inputs.get(name) != value for name, value in self._used[id].items())

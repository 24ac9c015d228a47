"""Bind sizes, lengths and frame rates of the outputs to parameters, wherever their literals are."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.catalog.checks.node_facts import output_types
from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.import_export.infer.constants import InputRef, trace_constant
from orchestrator.catalog.rendering.graph import Link, find_upstream_nodes, iter_links, parse_link

LENGTH_INPUTS = ("length", "num_frames", "video_frames", "frames_number")
FRAME_RATE_INPUTS = ("fps", "frame_rate")
_SIDE_INPUTS = ("width", "height")


@dataclass(frozen=True, slots=True)
class _TracedSide:
    """A width or height that depends on one literal."""

    origin: InputRef | Link
    #: The literal, and the value computed from it that the latent node gets.
    literal: int
    result: int


def bind_sizes(bindings: ParameterBindings, samplers: Sequence[str], needed: Sequence[str]) -> None:
    """Bind width and height of the samplers' empty latents, and of other nodes with the same values."""
    latents = list(_find_empty_latents(bindings, samplers))
    for id in latents:
        width, height = (_trace_side(bindings, id, name) for name in _SIDE_INPUTS)
        if width and height and width.origin == height.origin:
            _split_square(bindings, id, width.result)
        elif width and height:
            _bind_side(bindings, id, "width", width)
            _bind_side(bindings, id, "height", height)
    for id in needed if "width" in bindings.parameters else ():
        if set(_SIDE_INPUTS) <= bindings.graph[id]["inputs"].keys():
            for name in _SIDE_INPUTS:
                bindings.bind(name, bindings.find_literal(id, name))
    for name in _SIDE_INPUTS:
        _note_unbound(bindings, name, latents, (name,))


def bind_lengths(
    bindings: ParameterBindings, samplers: Sequence[str], needed: Sequence[str], outputs: Sequence[str]
) -> None:
    """Bind frame rates, then lengths: a length may be computed from seconds and a frame rate."""
    _bind_frame_rates(bindings, needed)
    latents = list(_find_empty_latents(bindings, samplers))
    for id in latents:
        for name in (name for name in LENGTH_INPUTS if name in bindings.graph[id]["inputs"]):
            place = bindings.find_literal(id, name)
            if place is None:
                _bind_computed_length(bindings, id, name, outputs)
            elif isinstance(bindings.literal_at(place), int):
                bindings.bind("num_frames", place)
    _note_unbound(bindings, "num_frames", latents, LENGTH_INPUTS)
    _note_unbound(bindings, "fps", needed, FRAME_RATE_INPUTS)


def _find_empty_latents(bindings: ParameterBindings, samplers: Sequence[str]) -> Iterator[str]:
    """Yield the nodes that create a latent without a latent input, nearest to the samplers first."""
    starts = [parse_link(bindings.graph[id]["inputs"].get("latent_image")) for id in samplers]
    waiting = [link.node for link in starts if link is not None]
    seen: set[str] = set()
    for id in waiting:  # grows while it is walked
        if id in seen:
            continue
        seen.add(id)
        inputs = bindings.node_inputs(id)
        sources = [link.node for name, link in iter_links(bindings.graph[id]["inputs"]) if name in inputs]
        kinds = {name for name, item in inputs.items() if item.type == "LATENT"}
        if not kinds:
            yield id
        waiting.extend(source for source in sources if "LATENT" in output_types(bindings.node_facts(source)))


def _trace_side(bindings: ParameterBindings, id: str, name: str) -> _TracedSide | None:
    known = bindings.trace_constant(id, name)
    if known is None or len(known.origins) != 1:
        return None
    ((origin, written),) = known.origins.items()
    if not _is_positive_whole(written) or not _is_positive_whole(known.value):
        return None
    return _TracedSide(origin, int(written), int(known.value))


def _bind_side(bindings: ParameterBindings, id: str, name: str, side: _TracedSide) -> None:
    if isinstance(side.origin, Link):
        for place in bindings.replace_output(side.origin, id, name, side.literal):
            bindings.bind(name, place)
        return
    user = bindings.node_inputs(id).get(name)
    if user is not None and side.origin != InputRef(id, name):
        # A literal that is halved on its way must be a multiple of twice the step.
        factor = side.literal // side.result if side.literal % side.result == 0 else 1
        step = int(user.options.get("step") or 1) * factor
        bindings.consumer_inputs.setdefault(
            side.origin, replace(user, options={**user.options, "step": step})
        )
    bindings.bind(name, side.origin)


def _split_square(bindings: ParameterBindings, id: str, length: int) -> None:
    """Replace one number that is both sides of a square by a literal in each linked input."""
    link = parse_link(bindings.graph[id]["inputs"]["width"])
    if link is None or any(place.input not in _SIDE_INPUTS for place in bindings.consumers_of(link)):
        return
    for place in bindings.replace_output(link, id, "width", length):
        bindings.bind(place.input, place)


def _bind_computed_length(bindings: ParameterBindings, id: str, name: str, outputs: Sequence[str]) -> None:
    """Replace the formula of a length by the parameter, if the formula's inputs affect nothing else."""
    known = trace_constant(bindings.graph, id, name)
    if known is None or known.computed_by is None or not _is_positive_whole(known.value):
        return
    node = known.computed_by.node
    without = {**bindings.graph, node: {**bindings.graph[node], "inputs": {}}}
    used = find_upstream_nodes(without, outputs) - {node}
    if any(_has_other_effects(origin, bindings.expressions, used) for origin in known.origins):
        return
    for slot in range(len(output_types(bindings.node_facts(node)))):
        for place in bindings.replace_output(Link(node, slot), id, name, int(known.value)):
            bindings.bind("num_frames", place, _parameter_expression(bindings, "num_frames", place))


def _has_other_effects(origin: InputRef | Link, bound: Container[InputRef], used: Container[str]) -> bool:
    """Return whether a literal also determines something else that no parameter sets."""
    return isinstance(origin, Link) or (origin not in bound and origin.node in used)


def _bind_frame_rates(bindings: ParameterBindings, needed: Sequence[str]) -> None:
    for id in needed:
        for name in (name for name in FRAME_RATE_INPUTS if name in bindings.node_inputs(id)):
            place = bindings.find_literal(id, name)
            if place is None or not isinstance(bindings.literal_at(place), int | float):
                continue
            if (
                "fps" in bindings.parameters
                and round(bindings.literal_at(place)) != bindings.parameters["fps"]["default"]
            ):
                continue
            bindings.bind("fps", place, _parameter_expression(bindings, "fps", place))


def _parameter_expression(bindings: ParameterBindings, name: str, input_ref: InputRef) -> str:
    item = bindings.node_inputs(input_ref.node).get(input_ref.input) or bindings.consumer_inputs.get(
        input_ref
    )
    return f"{{{{ {name} }}}}" if item is None or item.type != "FLOAT" else f"{{{{ {name} | float }}}}"


def _note_unbound(
    bindings: ParameterBindings, parameter: str, nodes: Sequence[str], names: Sequence[str]
) -> None:
    """Add a note on why requests cannot set a parameter."""
    linked = (
        (id, name, link)
        for id in nodes
        for name, link in iter_links(bindings.graph[id]["inputs"])
        if name in names and link.node in bindings.graph
    )
    for id, name, link in linked if parameter not in bindings.parameters else ():
        known = trace_constant(bindings.graph, id, name)
        if known is None or not known.origins.keys() & bindings.expressions.keys():
            source = f"{bindings.graph[link.node]['class_type']} of node {link.node}"
            reason = "also determines other values" if known else "computes it in each run"
            bindings.notes.append(f"how requests could set {parameter}: {source} {reason}")
            return


def _is_positive_whole(value: Any) -> bool:
    """Return whether a value is a valid number of pixels or frames."""
    return isinstance(value, int | float) and 0 < value < 2**20 and value == int(value)

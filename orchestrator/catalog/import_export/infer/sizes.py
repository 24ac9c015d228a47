"""Sizes, lengths and frame rates of what a graph makes, wherever their numbers are written."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.catalog.checks.graph_checks import reachable
from orchestrator.catalog.checks.node_facts import output_types
from orchestrator.catalog.import_export.infer.bindings import Bindings
from orchestrator.catalog.import_export.infer.constants import Place, constant
from orchestrator.catalog.rendering.graph import Link, as_link, links_of

LENGTHS = ("length", "num_frames", "video_frames", "frames_number")
RATES = ("fps", "frame_rate")
_SIDES = ("width", "height")


@dataclass(frozen=True, slots=True)
class _Side:
    """A width or height that one number decides."""

    origin: Place | Link
    #: The number, and what becomes of it on its way to the node that makes the latent.
    written: int
    made: int


def find_sizes(found: Bindings, samplers: Sequence[str], needed: Sequence[str]) -> None:
    """From the latent that the first sampler starts from; other nodes follow where they agree."""
    latents = list(_latents(found, samplers))
    for id in latents:
        width, height = (_side(found, id, name) for name in _SIDES)
        if width and height and width.origin == height.origin:
            _part_sides(found, id, width.made)
        elif width and height:
            _bind_side(found, id, "width", width)
            _bind_side(found, id, "height", height)
    for id in needed if "width" in found.parameters else ():
        if set(_SIDES) <= found.graph[id]["inputs"].keys():
            for name in _SIDES:
                found.bind(name, found.literal(id, name))
    for name in _SIDES:
        _note(found, name, latents, (name,))


def find_lengths(
    found: Bindings, samplers: Sequence[str], needed: Sequence[str], outputs: Sequence[str]
) -> None:
    """Rates first: a length that is so many seconds at a rate is decided by the seconds."""
    _rates(found, needed)
    latents = list(_latents(found, samplers))
    for id in latents:
        for name in (name for name in LENGTHS if name in found.graph[id]["inputs"]):
            place = found.literal(id, name)
            if place is None:
                _bind_computed(found, id, name, outputs)
            elif isinstance(found.value(place), int):
                found.bind("num_frames", place)
    _note(found, "num_frames", latents, LENGTHS)
    _note(found, "fps", needed, RATES)


def _latents(found: Bindings, samplers: Sequence[str]) -> Iterator[str]:
    """The nodes that make a latent out of nothing, upstream of the samplers' latents, nearest first."""
    starts = [as_link(found.graph[id]["inputs"].get("latent_image")) for id in samplers]
    waiting = [link.node for link in starts if link is not None]
    seen: set[str] = set()
    for id in waiting:  # grows while it is walked
        if id in seen:
            continue
        seen.add(id)
        inputs = found.inputs(id)
        sources = [link.node for name, link in links_of(found.graph[id]["inputs"]) if name in inputs]
        kinds = {name for name, item in inputs.items() if item.type == "LATENT"}
        if not kinds:
            yield id
        waiting.extend(source for source in sources if "LATENT" in output_types(found.entry(source)))


def _side(found: Bindings, id: str, name: str) -> _Side | None:
    known = found.constant(id, name)
    if known is None or len(known.origins) != 1:
        return None
    ((origin, written),) = known.origins.items()
    if not _is_whole(written) or not _is_whole(known.value):
        return None
    return _Side(origin, int(written), int(known.value))


def _bind_side(found: Bindings, id: str, name: str, side: _Side) -> None:
    if isinstance(side.origin, Link):
        for place in found.replace(side.origin, id, name, side.written):
            found.bind(name, place)
        return
    user = found.inputs(id).get(name)
    if user is not None and side.origin != Place(id, name):
        # What is halved on its way must be a multiple of twice as much.
        factor = side.written // side.made if side.written % side.made == 0 else 1
        step = int(user.options.get("step") or 1) * factor
        found.users.setdefault(side.origin, replace(user, options={**user.options, "step": step}))
    found.bind(name, side.origin)


def _part_sides(found: Bindings, id: str, made: int) -> None:
    """Writes a number that is both sides of a square to where each of them is needed."""
    link = as_link(found.graph[id]["inputs"]["width"])
    if link is None or any(place.input not in _SIDES for place in found.users_of(link)):
        return
    for place in found.replace(link, id, "width", made):
        found.bind(place.input, place)


def _bind_computed(found: Bindings, id: str, name: str, outputs: Sequence[str]) -> None:
    """Takes the place of a formula, where what goes into it serves nothing else."""
    known = constant(found.graph, id, name)
    if known is None or known.computed is None or not _is_whole(known.value):
        return
    node = known.computed.node
    without = {**found.graph, node: {**found.graph[node], "inputs": {}}}
    used = reachable(without, outputs) - {node}
    if any(_decides_more(origin, found.places, used) for origin in known.origins):
        return
    for slot in range(len(output_types(found.entry(node)))):
        for place in found.replace(Link(node, slot), id, name, int(known.value)):
            found.bind("num_frames", place, _expression(found, "num_frames", place))


def _decides_more(origin: Place | Link, bound: Container[Place], used: Container[str]) -> bool:
    """Whether a number would go on deciding something else, unknown to any request."""
    return isinstance(origin, Link) or (origin not in bound and origin.node in used)


def _rates(found: Bindings, needed: Sequence[str]) -> None:
    for id in needed:
        for name in (name for name in RATES if name in found.inputs(id)):
            place = found.literal(id, name)
            if place is None or not isinstance(found.value(place), int | float):
                continue
            if "fps" in found.parameters and round(found.value(place)) != found.parameters["fps"]["default"]:
                continue
            found.bind("fps", place, _expression(found, "fps", place))


def _expression(found: Bindings, name: str, place: Place) -> str:
    item = found.inputs(place.node).get(place.input) or found.users.get(place)
    return f"{{{{ {name} }}}}" if item is None or item.type != "FLOAT" else f"{{{{ {name} | float }}}}"


def _note(found: Bindings, parameter: str, nodes: Sequence[str], names: Sequence[str]) -> None:
    """Says why requests can not set what they usually can."""
    linked = (
        (id, name, link)
        for id in nodes
        for name, link in links_of(found.graph[id]["inputs"])
        if name in names and link.node in found.graph
    )
    for id, name, link in linked if parameter not in found.parameters else ():
        known = constant(found.graph, id, name)
        if known is None or not known.origins.keys() & found.places.keys():
            source = f"{found.graph[link.node]['class_type']} of node {link.node}"
            reason = "decides more than that" if known else "decides it in each run"
            found.notes.append(f"how requests could set {parameter}: {source} {reason}")
            return


def _is_whole(value: Any) -> bool:
    """Whether a value is a number of pixels or frames."""
    return isinstance(value, int | float) and 0 < value < 2**20 and value == int(value)

"""Finds the natural parameters of a graph by walking it from samplers and savers.

What the author has marked comes first: a widget that holds `{{ name }}`, or a node whose title is the
name of a parameter. Names of inputs alone decide nothing: a number is the length of the video because it
is the `length` of the latent that a sampler draws on, not because it is called so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from orchestrator.catalog.checks.graph_checks import reachable
from orchestrator.catalog.checks.node_facts import output_types
from orchestrator.catalog.import_export.infer.bindings import Bindings
from orchestrator.catalog.import_export.infer.constants import Place
from orchestrator.catalog.import_export.infer.loras import find_loras
from orchestrator.catalog.import_export.infer.sizes import LENGTHS, RATES, find_lengths, find_sizes
from orchestrator.catalog.manifest import RESERVED_NAMES
from orchestrator.catalog.parameters.values import MAX_SEED
from orchestrator.catalog.rendering.graph import Link, as_link, links_of

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MARK = re.compile(r"\{\{\s*([a-z][a-z0-9_]*)\s*\}\}")
_SEEDS = ("seed", "noise_seed")
_MAX_IMAGES = 4
# Inputs by which an encoder of several towers takes the text once for each.
_TOWERS = frozenset({"clip_l", "clip_g", "t5xxl", "llama", "bert", "mt5xl", "qwen25_7b"})

# Inputs that a node titled with a parameter's name may mean.
_TITLED = {
    "prompt": ("text", "prompt", "value", "string"),
    "negative_prompt": ("text", "prompt", "value", "string"),
    "seed": (*_SEEDS, "value"),
    "steps": ("steps", "value"),
    "cfg_scale": ("cfg", "guidance", "value"),
    "width": ("width", "value"),
    "height": ("height", "value"),
    "num_frames": (*LENGTHS, "value"),
    "fps": (*RATES, "value"),
    "image": ("image",),
    "mask": ("image",),
}


def find_parameters(found: Bindings, outputs: Sequence[str]) -> None:
    """Fills `found` with all that can be told; nodes that the `outputs` do not need are left out."""
    _marked(found, _needed(found, outputs))
    _settle_switches(found, _needed(found, outputs))
    needed = _needed(found, outputs)
    samplers = [id for id in needed if _is_sampler(found, id)]
    guiders = [id for id in needed if "GUIDER" in output_types(found.entry(id))]
    _seeds(found, needed)
    _steps(found, needed)
    _prompts(found, samplers + guiders)
    _guidance(found, samplers + guiders)
    find_sizes(found, samplers, needed)
    find_lengths(found, samplers, needed, outputs)
    _images(found, needed)
    find_loras(found, needed)


def _needed(found: Bindings, outputs: Sequence[str]) -> list[str]:
    used = reachable(found.graph, outputs)
    return [id for id in found.graph if id in used]


def _settle_switches(found: Bindings, needed: list[str]) -> None:
    """Goes the way that a switch was left at, unless a parameter sets it: nothing else could be bound on
    the other way to any effect."""
    for id in needed:
        if found.graph[id]["class_type"] != "ComfySwitchNode":
            continue
        switch = found.constant(id, "switch")
        name = "on_true" if switch and switch.value else "on_false"
        if switch is None or name not in found.graph[id]["inputs"]:
            continue
        chosen = found.graph[id]["inputs"][name]
        if as_link(chosen) != Link(id, 0):
            found.replace(Link(id, 0), id, name, chosen)
            title = found.graph[id]["_meta"].get("title", "")
            found.notes.append(f"how requests could turn the switch {title} of node {id}: it stays at {name}")


def _marked(found: Bindings, needed: list[str]) -> None:
    for id in needed:
        node = found.graph[id]
        for name, value in node["inputs"].items():
            mark = _MARK.fullmatch(value) if isinstance(value, str) else None
            if mark and mark[1] not in RESERVED_NAMES:
                _bind_mark(found, mark[1], Place(id, name))
        title = str(node.get("_meta", {}).get("title", "")).strip().lower().replace(" ", "_")
        for name in _TITLED.get(title, ()):
            if found.bind(title, found.literal(id, name) if name in node["inputs"] else None):
                break


def _bind_mark(found: Bindings, name: str, place: Place) -> None:
    """A mark stands where a value should: the widget's own default takes its place."""
    item = found.inputs(place.node).get(place.input)
    default = item.options.get("default", "") if item else ""
    if item is not None and item.choices and not default:
        default = item.choices[0]
    found.graph[place.node]["inputs"][place.input] = default
    found.bind(name, place)


def _is_sampler(found: Bindings, id: str) -> bool:
    """Whether a node draws: it makes a latent out of a model, or a guider, and a latent."""
    types = {item.type for item in found.inputs(id).values()}
    return "LATENT" in output_types(found.entry(id)) and bool(types & {"MODEL", "GUIDER"})


def _seeds(found: Bindings, needed: list[str]) -> None:
    for id in needed:
        inputs = found.graph[id]["inputs"]
        # A second stage that adds no noise has a seed that does nothing.
        names = [name for name in _SEEDS if name in inputs and inputs.get("add_noise") != "disable"]
        for place in (found.literal(id, name) for name in names):
            if place and isinstance(found.value(place), int):
                found.bind("seed", place, seed_expression(found, place))


def seed_expression(found: Bindings, place: Place) -> str:
    """The seed, folded where the node's range is narrower than ours."""
    item = found.inputs(place.node).get(place.input)
    limit = item.options.get("max", MAX_SEED) if item else MAX_SEED
    return "{{ seed }}" if limit >= MAX_SEED else f"{{{{ seed % {limit + 1} }}}}"


def _steps(found: Bindings, needed: list[str]) -> None:
    for id in needed:
        if {"MODEL", "LATENT", "SIGMAS"} & {item.type for item in found.inputs(id).values()} or (
            "SIGMAS" in output_types(found.entry(id))
        ):
            place = found.literal(id, "steps")
            if place and isinstance(found.value(place), int):
                found.bind("steps", place)
    steps: int = found.parameters.get("steps", {}).get("default", 0)
    for id in needed:
        for name in ("start_at_step", "end_at_step"):
            place = found.literal(id, name)
            at = found.value(place) if place else None
            if isinstance(at, int) and 0 < at <= steps:
                part = "" if at == steps else f" * {at} // {steps}"
                found.bind("steps", place, f"{{{{ steps{part} }}}}")


def _prompts(found: Bindings, samplers: list[str]) -> None:
    positive = list(_encoders(found, samplers, ("positive", "conditioning")))
    for id in positive:
        _bind_text(found, "prompt", id)
    for id in _encoders(found, samplers, ("negative",)):
        if id not in positive:
            _bind_text(found, "negative_prompt", id)


def _encoders(found: Bindings, samplers: list[str], names: tuple[str, ...]) -> Iterator[str]:
    """Nodes from which a sampler's conditioning starts, nearest first."""
    starts = (as_link(found.graph[id]["inputs"].get(name)) for id in samplers for name in names)
    waiting = [link for link in starts if link is not None]
    seen: set[Link] = set()
    for link in waiting:  # grows while it is walked
        if link in seen or "ZeroOut" in found.graph[link.node]["class_type"]:
            continue
        seen.add(link)
        further = _conditionings(found, link)
        if further:
            waiting.extend(further)
        else:
            yield link.node


def _conditionings(found: Bindings, link: Link) -> list[Link]:
    """The conditionings that an output of a node is made from."""
    inputs = found.inputs(link.node)
    linked = {
        name: source
        for name, source in links_of(found.graph[link.node]["inputs"])
        if name in inputs and inputs[name].type == "CONDITIONING"
    }
    if {"positive", "negative"} <= linked.keys():
        return [linked["positive" if link.slot == 0 else "negative"]]
    return list(linked.values())


def _bind_text(found: Bindings, name: str, id: str) -> None:
    """The texts of an encoder: the first is the prompt, others for its second tower are the same prompt;
    any other text (lyrics, say) is a parameter of its own."""
    for input, item in found.inputs(id).items():
        place = found.literal(id, input) if item.type == "STRING" and item.options.get("multiline") else None
        if place is None or not isinstance(found.value(place), str):
            continue
        if not any(other.node == id for other in found.places):
            found.bind(name, place)
        elif input in _TOWERS:
            found.bind(name, place, f"{{{{ {name} }}}}")
        elif _NAME.fullmatch(input) and name == "prompt":
            found.bind(input, place)


def _guidance(found: Bindings, samplers: list[str]) -> None:
    """What is called cfg does nothing at 1: then an embedded guidance is meant."""
    places = [place for id in samplers if (place := found.literal(id, "cfg"))]
    guided = [place for place in places if found.value(place) != 1]
    for place in guided:
        found.bind("cfg_scale", place)
    if guided:
        return
    on_the_way = reachable(found.graph, samplers)
    for id in found.graph:
        if id in on_the_way and "CONDITIONING" in output_types(found.entry(id)):
            found.bind("cfg_scale", found.literal(id, "guidance"))
    for place in places:
        if "cfg_scale" not in found.parameters:
            found.bind("cfg_scale", place)


def _images(found: Bindings, needed: list[str]) -> None:
    """Pictures that callers upload, in the order in which they are loaded. No request carries other files."""
    for id in needed:
        uploads = {name: item for name, item in found.inputs(id).items() if item.takes_upload}
        for name, item in uploads.items():
            place = found.literal(id, name)
            count = sum(word.startswith("image") for word in found.parameters)
            if place is None or place in found.places:
                continue
            if output_types(found.entry(id)) == ["MASK"]:
                found.bind("mask", place)
            elif item.options.get("image_upload") and count < _MAX_IMAGES:
                found.bind("image" if count == 0 else f"image{count + 1}", place)
            else:
                file = found.value(place)
                found.notes.append(f"how requests could give another file than {file} of node {id}")

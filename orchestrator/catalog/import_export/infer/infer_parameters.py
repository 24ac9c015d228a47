"""Infer the parameters of a graph by following it from its samplers and save nodes.

Marks of the author come first: a widget that holds `{{ name }}`, or a node whose title is the name of a
parameter. Input names alone are not enough: a number is the length of the video if it is the `length` of a
latent that a sampler uses, not because of its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.catalog.checks.node_facts import SEED_INPUT_NAMES, output_types
from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.import_export.infer.constants import InputRef
from orchestrator.catalog.import_export.infer.loras import bind_loras
from orchestrator.catalog.import_export.infer.off_grid import reject_off_grid
from orchestrator.catalog.import_export.infer.prompts import bind_prompts
from orchestrator.catalog.import_export.infer.sizes import (
    FRAME_RATE_INPUTS,
    LENGTH_INPUTS,
    bind_lengths,
    bind_sizes,
)
from orchestrator.catalog.manifest import RESERVED_NAMES
from orchestrator.catalog.parameters.values import MAX_SEED
from orchestrator.catalog.rendering.graph import Link, find_upstream_nodes, parse_link

_MARKER_PATTERN = re.compile(r"\{\{\s*([a-z][a-z0-9_]*)\s*\}\}")
_MAX_IMAGES = 4

# Inputs that the title of a node may refer to, by parameter name.
_INPUTS_BY_TITLE = {
    "prompt": ("text", "prompt", "value", "string"),
    "negative_prompt": ("text", "prompt", "value", "string"),
    "seed": (*SEED_INPUT_NAMES, "value"),
    "steps": ("steps", "value"),
    "cfg_scale": ("cfg", "guidance", "value"),
    "width": ("width", "value"),
    "height": ("height", "value"),
    "num_frames": (*LENGTH_INPUTS, "value"),
    "fps": (*FRAME_RATE_INPUTS, "value"),
    "image": ("image",),
    "mask": ("image",),
}


def infer_parameters(bindings: ParameterBindings, outputs: Sequence[str]) -> None:
    """Bind all parameters that can be inferred; nodes that the `outputs` do not need are ignored."""
    _bind_marked_inputs(bindings, _needed_nodes(bindings, outputs))
    _resolve_switches(bindings, _needed_nodes(bindings, outputs))
    needed = _needed_nodes(bindings, outputs)
    samplers = [id for id in needed if _is_sampler(bindings, id)]
    guiders = [id for id in needed if "GUIDER" in output_types(bindings.node_facts(id))]
    _bind_seeds(bindings, needed)
    _bind_steps(bindings, needed)
    bind_prompts(bindings, samplers + guiders, needed)
    _bind_guidance(bindings, samplers + guiders)
    bind_sizes(bindings, samplers, needed)
    bind_lengths(bindings, samplers, needed, outputs)
    reject_off_grid(bindings, needed)
    _bind_files(bindings, needed)
    bind_loras(bindings, needed)


def _needed_nodes(bindings: ParameterBindings, outputs: Sequence[str]) -> list[str]:
    used = find_upstream_nodes(bindings.graph, outputs)
    return [id for id in bindings.graph if id in used]


def _resolve_switches(bindings: ParameterBindings, needed: list[str]) -> None:
    """Replace switches by their selected input, unless a parameter sets them.

    Parameters bound on the other branch would have no effect.
    """
    for id in needed:
        if bindings.graph[id]["class_type"] != "ComfySwitchNode":
            continue
        switch = bindings.trace_constant(id, "switch")
        name = "on_true" if switch and switch.value else "on_false"
        if switch is None or name not in bindings.graph[id]["inputs"]:
            continue
        chosen = bindings.graph[id]["inputs"][name]
        if parse_link(chosen) != Link(id, 0):
            bindings.replace_output(Link(id, 0), id, name, chosen)
            title = bindings.graph[id]["_meta"].get("title", "")
            bindings.notes.append(
                f"how requests could set the switch {title} of node {id}: it is fixed at {name}"
            )


def _bind_marked_inputs(bindings: ParameterBindings, needed: list[str]) -> None:
    for id in needed:
        node = bindings.graph[id]
        for name, value in node["inputs"].items():
            mark = _MARKER_PATTERN.fullmatch(value) if isinstance(value, str) else None
            if mark and mark[1] not in RESERVED_NAMES:
                _bind_marker(bindings, mark[1], InputRef(id, name))
        title = str(node.get("_meta", {}).get("title", "")).strip().lower().replace(" ", "_")
        for name in _INPUTS_BY_TITLE.get(title, ()):
            place = bindings.find_literal(id, name) if name in node["inputs"] else None
            expression = seed_expression(bindings, place) if place and title == "seed" else None
            if bindings.bind(title, place, expression):
                break


def _bind_marker(bindings: ParameterBindings, name: str, input_ref: InputRef) -> None:
    """Bind an input that holds a mark, after replacing the mark by the widget's default."""
    item = bindings.node_inputs(input_ref.node).get(input_ref.input)
    default = item.options.get("default", "") if item else ""
    if item is not None and item.choices and not default:
        default = item.choices[0]
    bindings.graph[input_ref.node]["inputs"][input_ref.input] = default
    bindings.bind(name, input_ref)


def _is_sampler(bindings: ParameterBindings, id: str) -> bool:
    """Return whether a node samples: it has a model or guider input and a latent output."""
    types = {item.type for item in bindings.node_inputs(id).values()}
    return "LATENT" in output_types(bindings.node_facts(id)) and bool(types & {"MODEL", "GUIDER"})


def _bind_seeds(bindings: ParameterBindings, needed: list[str]) -> None:
    for id in needed:
        inputs = bindings.graph[id]["inputs"]
        # The seed of a second stage that adds no noise has no effect.
        names = [name for name in SEED_INPUT_NAMES if name in inputs and inputs.get("add_noise") != "disable"]
        for place in (bindings.find_literal(id, name) for name in names):
            if place and isinstance(bindings.literal_at(place), int):
                bindings.bind("seed", place, seed_expression(bindings, place))


def seed_expression(bindings: ParameterBindings, input_ref: InputRef) -> str:
    """Return the expression of a seed, which is from 0 on, brought into the node's range."""
    item = bindings.node_inputs(input_ref.node).get(input_ref.input)
    low, high = (item.options.get(name) if item else None for name in ("min", "max"))
    limit = MAX_SEED if high is None else high
    seed = "seed" if limit >= MAX_SEED else f"seed % {int(limit) + 1}"
    if low is None or low <= 0:
        return f"{{{{ {seed} }}}}"
    return f"{{{{ [{seed}, {int(low)}] | max }}}}"


def _bind_steps(bindings: ParameterBindings, needed: list[str]) -> None:
    for id in needed:
        if {"MODEL", "LATENT", "SIGMAS"} & {item.type for item in bindings.node_inputs(id).values()} or (
            "SIGMAS" in output_types(bindings.node_facts(id))
        ):
            place = bindings.find_literal(id, "steps")
            if place and isinstance(bindings.literal_at(place), int):
                bindings.bind("steps", place)
    steps: int = bindings.parameters.get("steps", {}).get("default", 0)
    for id in needed:
        for name in ("start_at_step", "end_at_step"):
            place = bindings.find_literal(id, name)
            at = bindings.literal_at(place) if place else None
            if isinstance(at, int) and 0 < at <= steps:
                part = "" if at == steps else f" * {at} // {steps}"
                bindings.bind("steps", place, f"{{{{ steps{part} }}}}")


def _bind_guidance(bindings: ParameterBindings, samplers: list[str]) -> None:
    """Bind `cfg_scale` to `cfg`, or to an embedded guidance if all are 1, where they have no effect."""
    places = [place for id in samplers if (place := bindings.find_literal(id, "cfg"))]
    guided = [place for place in places if bindings.literal_at(place) != 1]
    for place in guided:
        bindings.bind("cfg_scale", place)
    if guided:
        return
    on_the_way = find_upstream_nodes(bindings.graph, samplers)
    for id in bindings.graph:
        if id in on_the_way and "CONDITIONING" in output_types(bindings.node_facts(id)):
            bindings.bind("cfg_scale", bindings.find_literal(id, "guidance"))
    for place in places:
        if "cfg_scale" not in bindings.parameters:
            bindings.bind("cfg_scale", place)


def _bind_files(bindings: ParameterBindings, needed: list[str]) -> None:
    """Bind images, one video and one sound that callers upload, in graph order; other files stay fixed."""
    for id in needed:
        uploads = {name: item for name, item in bindings.node_inputs(id).items() if item.accepts_uploads}
        for name, item in uploads.items():
            place = bindings.find_literal(id, name)
            count = sum(word.startswith("image") for word in bindings.parameters)
            if place is None or place in bindings.expressions:
                continue
            if output_types(bindings.node_facts(id)) == ["MASK"]:
                bindings.bind("mask", place)
            elif item.options.get("image_upload") and count < _MAX_IMAGES:
                bindings.bind("image" if count == 0 else f"image{count + 1}", place)
            elif item.options.get("video_upload") and "video" not in bindings.parameters:
                bindings.bind("video", place)
            elif item.options.get("audio_upload") and "audio" not in bindings.parameters:
                bindings.bind("audio", place)
            else:
                file = bindings.literal_at(place)
                bindings.notes.append(f"how requests could give another file than {file} of node {id}")

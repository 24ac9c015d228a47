"""Knows what node packs add to the lists of samplers and schedulers of ComfyUI's own classes.

A graph may use such an option and no class of the pack. The tables were read from the packs' sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts


@dataclass(frozen=True, slots=True)
class PackOptions:
    """The options of one pack."""

    #: `OWNER/NAME` on GitHub.
    pack: str
    #: A class of the pack: where it is known, the pack is.
    class_type: str
    #: An option that a list always has -> the options that the pack adds to such lists.
    added: Mapping[str, Sequence[str]]


_RES_SAMPLERS = [f"res_{kind}" for kind in ("2m", "3m", "2s", "3s", "5s", "6s")]
_DEIS_SAMPLERS = ["deis_2m", "deis_3m"]
PACK_OPTIONS = (
    PackOptions(
        "ClownsharkBatwing/RES4LYF",
        "ClownsharKSampler_Beta",
        {
            "dpmpp_2m": [
                *_RES_SAMPLERS,
                *_DEIS_SAMPLERS,
                *(f"{name}_ode" for name in (*_RES_SAMPLERS, *_DEIS_SAMPLERS)),
                "rk_beta",
            ],
            "karras": ["beta57", "bong_tangent"],
        },
    ),
)


def with_pack_options(facts: NodeFacts, pack_facts: NodeFacts) -> NodeFacts:
    """Return ComfyUI's facts with the options that the packs of `pack_facts` add."""
    packs = [pack for pack in PACK_OPTIONS if pack.class_type in pack_facts]
    if not packs:
        return facts
    return {name: _extend(entry, packs) for name, entry in facts.items()}


def packs_of_options(graph: Mapping[str, Any]) -> Iterator[PackOptions]:
    """Yield the packs whose options a graph in API format uses."""
    used = {
        value
        for node in graph.values()
        for value in (node.get("inputs") or {}).values()
        if isinstance(value, str)
    }
    for pack in PACK_OPTIONS:
        if any(used.intersection(options) for options in pack.added.values()):
            yield pack


def describe_option(value: object, choices: Sequence[Any]) -> str:
    """Return which pack adds an option to a list that lacks it, and the command; empty if none is known."""
    for pack in PACK_OPTIONS:
        if any(mark in choices and value in options for mark, options in pack.added.items()):
            command = f"pixelfactory packs add https://github.com/{pack.pack}"
            return f"; the node pack {pack.pack} adds it: `{command}`, then `pixelfactory packs install`"
    return ""


def _extend(entry: Mapping[str, Any], packs: Sequence[PackOptions]) -> Mapping[str, Any]:
    """Return the facts of a class with the further options; the same object if there are none."""
    sections = entry.get("input")
    if not isinstance(sections, Mapping):
        return entry
    changed = {
        section: {name: _extend_input(spec, packs) for name, spec in inputs.items()}
        for section, inputs in sections.items()
        if isinstance(inputs, Mapping)
    }
    return entry if changed == sections else {**entry, "input": {**sections, **changed}}


def _extend_input(spec: Any, packs: Sequence[PackOptions]) -> Any:
    if not isinstance(spec, list) or not spec:
        return spec
    if isinstance(spec[0], list):
        return [_extend_list(spec[0], packs), *spec[1:]]
    options = spec[1] if len(spec) > 1 else None
    if isinstance(options, Mapping) and isinstance(options.get("options"), list):
        return [spec[0], {**options, "options": _extend_list(options["options"], packs)}, *spec[2:]]
    return spec


def _extend_list(choices: list[Any], packs: Sequence[PackOptions]) -> list[Any]:
    added = [
        option
        for pack in packs
        for mark, options in pack.added.items()
        if mark in choices
        for option in options
        if option not in choices
    ]
    return [*choices, *added]

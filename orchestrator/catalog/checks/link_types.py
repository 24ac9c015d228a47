"""Knows links that a server accepts although the types in `/object_info` differ.

A pack can declare a type whose comparison accepts further types. `/object_info` has only its name. The trial
start of installed packs and the page of our pack find them out (`link_types` of the facts of a class); the
tables were read from sources, for facts that have none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, NodeInput, output_types, types_overlap

LINK_TYPES_KEY = "link_types"

#: Pattern of classes -> input -> further types. (VideoHelperSuite)
_BY_INPUT: Mapping[str, Mapping[str, Collection[str]]] = {
    "VHS_VideoCombine": {"frame_rate": ["INT"], "images": ["LATENT"]},
    "VHS_LoadVideo*": {"force_rate": ["INT"]},
}
#: Pattern of classes -> output slot -> further types: with a VAE, these loaders give latents.
_BY_OUTPUT: Mapping[str, Mapping[int, Collection[str]]] = {
    "VHS_LoadVideo*": {0: ["LATENT"]},
    "VHS_LoadImagePath": {0: ["LATENT"]},
}


def further_input_types(class_type: str, input: str, entry: Mapping[str, Any]) -> list[str]:
    """Return the types that an input accepts besides those that its class declares."""
    known = [
        type
        for pattern, inputs in _BY_INPUT.items()
        if fnmatchcase(class_type, pattern)
        for type in inputs.get(input, ())
    ]
    return [*known, *_recorded(entry, "inputs", input)]


def further_output_types(class_type: str, slot: int, entry: Mapping[str, Any]) -> list[str]:
    """Return the types for which an output may be used besides the one that its class declares."""
    known = [
        type
        for pattern, outputs in _BY_OUTPUT.items()
        if fnmatchcase(class_type, pattern)
        for type in outputs.get(slot, ())
    ]
    return [*known, *_recorded(entry, "outputs", str(slot))]


def add_link_types(facts: NodeFacts, recorded: NodeFacts) -> NodeFacts:
    """Return an instance's facts with the further types of those that were recorded with a model."""
    known = {
        name: {**facts[name], LINK_TYPES_KEY: entry[LINK_TYPES_KEY]}
        for name, entry in recorded.items()
        if name in facts and LINK_TYPES_KEY in entry
    }
    return {**facts, **known} if known else facts


class LinkRules:
    """Says which outputs an input accepts. What was found for two classes is not looked for again."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts
        self._output_types: dict[str, list[str]] = {}
        self._accepted: dict[tuple[str, str, str, str, int], bool] = {}

    def output_types(self, class_type: object) -> list[str] | None:
        """Return the types of the outputs of a class; None for an unknown class."""
        entry = self._facts.get(class_type) if isinstance(class_type, str) else None
        if not entry or not isinstance(class_type, str):
            return None
        if class_type not in self._output_types:
            self._output_types[class_type] = output_types(entry)
        return self._output_types[class_type]

    def accepts(self, class_type: str, item: NodeInput, source: str, slot: int) -> bool:
        """Return whether an input of a class accepts output `slot` of a node of the class `source`."""
        key = (class_type, item.name, item.type, source, slot)
        if key not in self._accepted:
            target, origin = self._facts.get(class_type, {}), self._facts.get(source, {})
            accepted = [item.type, *further_input_types(class_type, item.name, target)]
            given = [output_types(origin)[slot], *further_output_types(source, slot, origin)]
            self._accepted[key] = types_overlap(",".join(accepted), ",".join(given))
        return self._accepted[key]


def _recorded(entry: Mapping[str, Any], side: str, name: str) -> list[str]:
    """Return the types that facts have; authors send facts, too, so they may be anything."""
    found: Any = entry.get(LINK_TYPES_KEY)
    for key in (side, name):
        found = found.get(key) if isinstance(found, Mapping) else None
    return [type for type in found if isinstance(type, str)] if isinstance(found, list) else []

"""Knows links that a server accepts although the types in `/object_info` differ.

A pack can declare a type whose comparison accepts further types. `/object_info` has only its name, so no
facts of a class show it. The tables were read from the packs' sources.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

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


def further_input_types(class_type: str, input: str) -> list[str]:
    """Return the types that an input accepts besides those that its class declares."""
    return [
        type
        for pattern, inputs in _BY_INPUT.items()
        if fnmatchcase(class_type, pattern)
        for type in inputs.get(input, ())
    ]


def further_output_types(class_type: str, slot: int) -> list[str]:
    """Return the types for which an output may be used besides the one that its class declares."""
    return [
        type
        for pattern, outputs in _BY_OUTPUT.items()
        if fnmatchcase(class_type, pattern)
        for type in outputs.get(slot, ())
    ]

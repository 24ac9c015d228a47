"""Finds the types that inputs and outputs of classes accept besides those in `/object_info`.

A class may declare a text that compares as it likes: `/object_info` has only its letters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from operator import ne
from typing import Any

LINK_TYPES_KEY = "link_types"


def with_link_types(object_info: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts with the further types of their classes. Blocking: it asks the classes."""
    classes = import_module("nodes").NODE_CLASS_MAPPINGS
    found = find_link_types(
        {name: classes[name] for name in object_info if name in classes}, classes.values()
    )
    return {
        name: {**entry, LINK_TYPES_KEY: found[name]} if name in found and isinstance(entry, dict) else entry
        for name, entry in object_info.items()
    }


def find_link_types(classes: Mapping[str, Any], known: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Return `{class: {"inputs": {name: types}, "outputs": {slot: types}}}`; types are those of `known`."""
    types = sorted({str(type) for cls in known for type in _plain_outputs(cls)})
    found = {}
    for name, cls in classes.items():
        inputs = {key: more for key, type in _inputs(cls) if (more := _accepted(type, types))}
        outputs = {
            str(slot): more for slot, type in enumerate(_outputs(cls)) if (more := _accepted(type, types))
        }
        if inputs or outputs:
            found[name] = {"inputs": inputs, "outputs": outputs}
    return found


def _accepted(declared: Any, types: list[str]) -> list[str]:
    """Return the further types that a declared one equals by its own comparison."""
    if type(declared) is str or not isinstance(declared, str) or str.__eq__(declared, "*"):
        return []
    # ComfyUI asks whether they differ, in this order.
    accepted = [each for each in types if not ne(each, declared) and not str.__eq__(declared, each)]
    return ["*"] if len(accepted) > len(types) // 2 else accepted


def _outputs(cls: Any) -> list[Any]:
    try:
        return list(getattr(cls, "RETURN_TYPES", ()) or ())
    except Exception:
        return []


def _plain_outputs(cls: Any) -> list[str]:
    return [each for each in _outputs(cls) if type(each) is str]


def _inputs(cls: Any) -> Iterator[tuple[str, Any]]:
    try:
        declared = cls.INPUT_TYPES()
        groups = [declared.get(section) or {} for section in ("required", "optional")]
        rows = [(str(name), spec[0]) for group in groups for name, spec in group.items() if spec]
    except Exception:
        return
    yield from rows

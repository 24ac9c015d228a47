"""Refuses values of graphs that no JSON, UTF-8 or node can hold, with their place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow


def check_texts(data: Any, what: str) -> None:
    """Raise InvalidWorkflow if a text in JSON data has half of a character, naming its place."""
    place = find_broken_text(data)
    if place:
        raise InvalidWorkflow(f"{what}{place}; write it again in ComfyUI, and save the graph")


def find_broken_text(data: Any) -> str:
    """Return the place of a text with half of a character, and what is wrong; empty if all are complete."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        for place, value in _walk(data):
            if isinstance(value, str) and any("\ud800" <= each <= "\udfff" for each in value):
                shown = value.encode("utf-8", "replace").decode()[:60]
                return f"{place}: {shown!r} has half of a character (a lone surrogate), perhaps of an emoji"
    return ""


def check_numbers(graph: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise InvalidWorkflow if an input is a number that is not finite, naming the node and the input."""
    given = ((id, name, value) for id, node in graph.items() for name, value in node["inputs"].items())
    for id, name, values in given:
        wrong = [value for _, value in _walk(values) if isinstance(value, int | float)]
        wrong = [value for value in wrong if not _is_finite(value)]
        if wrong:
            shown = str(wrong[0])[:24]
            raise InvalidWorkflow(f"node {id}, input {name}: must be a finite number (got {shown})")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _walk(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values in JSON data and their places, names of objects among them."""
    pending = [("", data)]
    while pending:
        place, value = pending.pop()
        yield place, value
        if isinstance(value, Mapping):
            pending += [(f"{place} (a name)", name) for name in value]
            pending += [(f"{place}, {name}", item) for name, item in value.items()]
        elif isinstance(value, list):
            pending += [(f"{place}[{index}]", item) for index, item in enumerate(value)]

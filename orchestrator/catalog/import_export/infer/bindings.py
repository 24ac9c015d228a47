"""Parameters of a graph that somebody else drew: which input each one sets, and in what range.

`Bindings` is filled by `finder.py`, which knows where to look; here is how a found input is turned into
an expression and a declaration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.checks.node_facts import Input, NodeFacts, inputs_of
from orchestrator.catalog.import_export.infer.constants import ApiGraph, Constant, Place, constant
from orchestrator.catalog.rendering.graph import Link, links_of

Declaration = dict[str, Any]


@dataclass(slots=True)
class Bindings:
    """A graph, and the parameters found in it so far."""

    graph: ApiGraph
    facts: NodeFacts
    parameters: dict[str, Declaration] = field(default_factory=dict)
    places: dict[Place, str] = field(default_factory=dict)
    #: Node -> the words of its `_meta` that say when it is there, and how often.
    words: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Places on nodes that only hold a value -> the input that it is for.
    users: dict[Place, Input] = field(default_factory=dict)
    #: What stays as it was drawn although a request might want to set it, in sentences.
    notes: list[str] = field(default_factory=list)

    def entry(self, node: str) -> Mapping[str, Any]:
        return self.facts.get(self.graph[node]["class_type"], {})

    def inputs(self, node: str) -> dict[str, Input]:
        """What the class of a node takes; empty for one that nothing is known of."""
        entry = self.entry(node)
        return inputs_of(entry, self.graph[node]["inputs"]) if entry else {}

    def value(self, place: Place) -> Any:
        return self.graph[place.node]["inputs"].get(place.input)

    def constant(self, node: str, name: str) -> Constant | None:
        """What an input gets in every run; None where that is decided elsewhere or by a parameter."""
        found = constant(self.graph, node, name)
        return None if found is None or self.places.keys() & found.origins.keys() else found

    def literal(self, node: str, name: str) -> Place | None:
        """Where the value of an input is written: there, or on a node that it comes from unchanged."""
        found = constant(self.graph, node, name)
        if found is None or len(found.origins) > 1:
            return None
        ((origin, value),) = found.origins.items()
        if isinstance(origin, Link) or value != found.value:
            return None
        self._remember_user(origin, node, name)
        return origin

    def users_of(self, output: Link) -> list[Place]:
        """The inputs that are linked to an output."""
        return [
            Place(id, name)
            for id, node in self.graph.items()
            for name, link in links_of(node["inputs"])
            if link == output
        ]

    def replace(self, output: Link, node: str, name: str, value: Any) -> list[Place]:
        """Writes `value` wherever `output` is linked to; it is meant for the input `name` of `node`."""
        users = self.users_of(output)
        for place in users:
            self.graph[place.node]["inputs"][place.input] = value
            self._remember_user(place, node, name)
        return users

    def _remember_user(self, place: Place, node: str, name: str) -> None:
        user = self.inputs(node).get(name)
        if user is not None and place != Place(node, name):
            self.users.setdefault(place, user)

    def bind(self, name: str, place: Place | None, expression: str | None = None) -> bool:
        """Lets the parameter `name` set a place, unless the place is taken or holds another value."""
        if place is None or place in self.places:
            return False
        value = self.value(place)
        if not _can_be(name, value):
            return False
        if name in self.parameters:
            if expression is None and value != self._first_value(name):
                return False
        else:
            item = self.users.get(place) or self.inputs(place.node).get(place.input)
            self.parameters[name] = declare(name, value, item)
        self.places[place] = expression or f"{{{{ {name} }}}}"
        return True

    def sets(self, name: str, nodes: Container[str]) -> bool:
        """Whether the parameter sets anything on one of `nodes`, or decides that one is there."""
        texts = [text for place, text in self.places.items() if place.node in nodes]
        texts += [str(words) for node, words in self.words.items() if node in nodes]
        return any(re.search(rf"\b{name}\b", text) for text in texts)

    def _first_value(self, name: str) -> Any:
        """What stands in the graph where the parameter was bound first."""
        text = f"{{{{ {name} }}}}"
        return next((self.value(place) for place, bound in self.places.items() if bound == text), None)


def _can_be(name: str, value: Any) -> bool:
    """Whether a value of the graph is of the type that a word's has."""
    types = _NUMBERS.get(name)
    return types is None or (isinstance(value, types) and not isinstance(value, bool))


#: The words that stand for numbers.
_NUMBERS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("seed", "steps", "width", "height", "num_frames"), (int,)),
    **dict.fromkeys(("cfg_scale", "fps"), (int, float)),
}


def declare(name: str, value: Any, item: Input | None) -> Declaration:
    """A declaration for a parameter whose value in the graph is `value`."""
    options = item.options if item else {}
    if name in _WORDS:
        return _WORDS[name](value, options)
    if item is not None and item.choices:
        return {"type": "string", "default": value, "choices": [str(choice) for choice in item.choices]}
    if isinstance(value, bool):
        return {"type": "boolean", "default": value}
    if isinstance(value, int):
        low, high = options.get("min", min(0, value)), options.get("max", max(2**31 - 1, value))
        return {"type": "integer", "default": value, "minimum": int(low), "maximum": int(high)}
    if isinstance(value, float):
        low, high = options.get("min", min(0.0, value)), options.get("max", max(1e6, value))
        return {"type": "number", "default": value, "minimum": float(low), "maximum": float(high)}
    return {"type": "string", "default": str(value)}


def _side(value: Any, options: Mapping[str, Any]) -> Declaration:
    grid = int(options.get("step") or 1)
    grid = grid if grid > 8 and value % grid == 0 else 1
    step = 8 if value % 8 == 0 else 1
    low = min(256, value) if value % 8 == 0 else 1
    low = max(grid, low - low % grid)
    high = min(int(options.get("max", 2048)), max(2048, value))
    return _integer(value, low, high) | ({"step": step} if step > 1 else {}) | _grid(grid, 0)


def _frames(value: Any, options: Mapping[str, Any]) -> Declaration:
    grid = int(options.get("step") or 1)
    offset = value % grid
    least = max(1, int(options.get("min", 1)))
    low = least + (offset - least) % grid
    return _integer(value, min(low, value), max(257, value)) | _grid(grid, offset)


def _integer(value: int, low: int, high: int) -> Declaration:
    return {"type": "integer", "default": value, "minimum": low, "maximum": high}


def _grid(grid: int, offset: int) -> Declaration:
    return ({"grid": grid} if grid > 1 else {}) | ({"grid_offset": offset} if offset else {})


def _guidance(value: Any, options: Mapping[str, Any]) -> Declaration:
    high = min(float(options.get("max", 30.0)), max(30.0, float(value)))
    return {"type": "number", "default": float(value), "minimum": 0.0, "maximum": high, "step": 0.1}


_WORDS: Mapping[str, Callable[[Any, Mapping[str, Any]], Declaration]] = {
    "prompt": lambda value, _: {"type": "string", "required": True, "blank": False},
    "negative_prompt": lambda value, _: {"type": "string", "default": str(value)},
    "seed": lambda value, _: {"type": "seed"},
    "steps": lambda value, options: _integer(value, 1, min(options.get("max", value), max(100, value))),
    "cfg_scale": _guidance,
    "width": _side,
    "height": _side,
    "num_frames": _frames,
    "fps": lambda value, _: _integer(round(value), 1, max(60, round(value))),
    "image": lambda value, _: {"type": "image", "required": True},
    "image2": lambda value, _: {"type": "image", "required": True},
    "image3": lambda value, _: {"type": "image", "required": True},
    "image4": lambda value, _: {"type": "image", "required": True},
    "mask": lambda value, _: {"type": "image", "required": True},
}

"""Parameters of a graph that somebody else drew: which input each one sets, and in what range.

`Bindings` is filled by `finder.py`, which knows where to look; here is how a found input is turned into
an expression and a declaration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.facts import Input, NodeFacts, inputs_of
from orchestrator.catalog.graph import as_link

ApiGraph = dict[str, dict[str, Any]]
Declaration = dict[str, Any]

# Nodes that only hold a value for others.
_VALUE_INPUTS = ("value", "string", "text", "number")


@dataclass(frozen=True, slots=True)
class Place:
    """One literal of a graph: an input of a node."""

    node: str
    input: str


@dataclass(slots=True)
class Bindings:
    """A graph, and the parameters found in it so far."""

    graph: ApiGraph
    facts: NodeFacts
    parameters: dict[str, Declaration] = field(default_factory=dict)
    places: dict[Place, str] = field(default_factory=dict)
    #: Node -> the expression without which it is not there.
    guards: dict[str, str] = field(default_factory=dict)
    #: Places on nodes that only hold a value -> the input that it is for.
    users: dict[Place, Input] = field(default_factory=dict)

    def entry(self, node: str) -> Mapping[str, Any]:
        return self.facts.get(self.graph[node]["class_type"], {})

    def inputs(self, node: str) -> dict[str, Input]:
        """What the class of a node takes; empty for one that nothing is known of."""
        entry = self.entry(node)
        return inputs_of(entry, self.graph[node]["inputs"]) if entry else {}

    def value(self, place: Place) -> Any:
        return self.graph[place.node]["inputs"].get(place.input)

    def literal(self, node: str, name: str) -> Place | None:
        """Where the value of an input is written: there, or on a node that only holds it."""
        value = self.graph[node]["inputs"].get(name)
        link = as_link(value)
        if link is None:
            return None if value is None or isinstance(value, list | dict) else Place(node, name)
        held = self.graph[link.node]["inputs"]
        written = [key for key in _VALUE_INPUTS if key in held and as_link(held[key]) is None]
        if not written or any(as_link(other) for other in held.values()):
            return None
        place, user = Place(link.node, written[0]), self.inputs(node).get(name)
        if user is not None:
            self.users.setdefault(place, user)
        return place

    def bind(self, name: str, place: Place | None, expression: str | None = None) -> bool:
        """Lets the parameter `name` set a place, unless the place is taken or holds another value."""
        if place is None or place in self.places:
            return False
        value = self.value(place)
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
        texts += [text for node, text in self.guards.items() if node in nodes]
        return any(re.search(rf"\b{name}\b", text) for text in texts)

    def _first_value(self, name: str) -> Any:
        """What stands in the graph where the parameter was bound first."""
        text = f"{{{{ {name} }}}}"
        return next((self.value(place) for place, bound in self.places.items() if bound == text), None)


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


def _strength(value: Any, options: Mapping[str, Any]) -> Declaration:
    bound = max(2.0, abs(float(value)))
    return {"type": "number", "default": float(value), "minimum": -bound, "maximum": bound}


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
    "lora_strength": _strength,
}

"""Bind parameters to inputs of an imported graph: the expression of each input, and the declared range.

`infer_parameters.py` finds the inputs and fills `ParameterBindings`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.checks.node_facts import InputResolver, NodeFacts, NodeInput
from orchestrator.catalog.import_export.infer.constants import Constant, InputRef, trace_constant
from orchestrator.catalog.rendering.graph import ApiGraph, Link, parse_link

ParameterDeclaration = dict[str, Any]


@dataclass(slots=True)
class ParameterBindings:
    """A graph, and the parameters found in it so far."""

    graph: ApiGraph
    facts: NodeFacts
    parameters: dict[str, ParameterDeclaration] = field(default_factory=dict)
    expressions: dict[InputRef, str] = field(default_factory=dict)
    #: Node -> keys of its `_meta` that make it conditional or repeated.
    node_meta: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Inputs of nodes that only hold a value -> the input that uses the value.
    consumer_inputs: dict[InputRef, NodeInput] = field(default_factory=dict)
    #: Open questions: inputs that stay fixed although requests might want to set them.
    notes: list[str] = field(default_factory=list)
    #: The first input of each expression.
    _first_inputs: dict[str, InputRef] = field(default_factory=dict)
    _resolver: InputResolver = field(init=False)

    def __post_init__(self) -> None:
        self._resolver = InputResolver(self.facts)

    def node_facts(self, node: str) -> Mapping[str, Any]:
        return self.facts.get(self.graph[node]["class_type"], {})

    def node_inputs(self, node: str) -> Mapping[str, NodeInput]:
        """Return the inputs of a node; empty for an unknown class."""
        return self._resolver.resolve(self.graph[node]["class_type"], self.graph[node]["inputs"])

    def has_input(self, node: str, name: str) -> bool:
        """Return whether a node has an input, by its class or, for an unknown class, in the graph."""
        return name in self.node_inputs(node) or name in self.graph[node]["inputs"]

    def literal_at(self, input_ref: InputRef) -> Any:
        return self.graph[input_ref.node]["inputs"].get(input_ref.input)

    def trace_constant(self, node: str, name: str) -> Constant | None:
        """Return the constant value of an input; None if it is not constant or set by a parameter."""
        found = trace_constant(self.graph, node, name)
        return None if found is None or self.expressions.keys() & found.origins.keys() else found

    def find_literal(self, node: str, name: str) -> InputRef | None:
        """Return the literal that an input gets its value from, on its own or another node; else None."""
        found = trace_constant(self.graph, node, name)
        if found is None or len(found.origins) > 1:
            return None
        ((origin, value),) = found.origins.items()
        if isinstance(origin, Link) or value != found.value:
            return None
        self._record_consumer(origin, node, name)
        return origin

    def consumers_of(self, output: Link) -> list[InputRef]:
        """Return the inputs that are linked to an output."""
        linked = [*output]
        return [
            InputRef(id, name)
            for id, node in self.graph.items()
            for name, value in node["inputs"].items()
            # Most values differ, and to compare them takes less time than to read each as a link.
            if value == linked and parse_link(value)
        ]

    def replace_output(self, output: Link, node: str, name: str, value: Any) -> list[InputRef]:
        """Replace links to `output` by the literal `value`, which is for the input `name` of `node`."""
        users = self.consumers_of(output)
        for place in users:
            self.graph[place.node]["inputs"][place.input] = value
            self._record_consumer(place, node, name)
        return users

    def _record_consumer(self, input_ref: InputRef, node: str, name: str) -> None:
        user = self.node_inputs(node).get(name)
        if user is not None and input_ref != InputRef(node, name):
            self.consumer_inputs.setdefault(input_ref, user)

    def bind(self, name: str, input_ref: InputRef | None, expression: str | None = None) -> bool:
        """Bind the parameter `name` to an input, unless that is bound already or has another value."""
        if input_ref is None or input_ref in self.expressions:
            return False
        value = self.literal_at(input_ref)
        if not _has_expected_type(name, value):
            return False
        if name in self.parameters:
            if expression is None and value != self._bound_value(name):
                return False
        else:
            item = self.consumer_inputs.get(input_ref) or self.node_inputs(input_ref.node).get(
                input_ref.input
            )
            self.parameters[name] = declare_parameter(name, value, item)
        self.set_expression(input_ref, expression or f"{{{{ {name} }}}}")
        return True

    def set_expression(self, input_ref: InputRef, expression: str) -> None:
        """Set the expression of an input."""
        self.expressions[input_ref] = expression
        self._first_inputs.setdefault(expression, input_ref)

    def affects(self, name: str, nodes: Container[str]) -> bool:
        """Return whether the parameter sets an input of one of `nodes`, or a key of its `_meta`."""
        texts = [text for place, text in self.expressions.items() if place.node in nodes]
        texts += [str(words) for node, words in self.node_meta.items() if node in nodes]
        return any(re.search(rf"\b{name}\b", text) for text in texts)

    def _bound_value(self, name: str) -> Any:
        """Return the value in the graph of the input that the parameter was bound to first."""
        place = self._first_inputs.get(f"{{{{ {name} }}}}")
        return None if place is None else self.literal_at(place)


def _has_expected_type(name: str, value: Any) -> bool:
    """Return whether a value of the graph has the type of a well-known parameter."""
    types = _NUMBER_TYPES.get(name)
    return types is None or (isinstance(value, types) and not isinstance(value, bool))


#: Well-known parameters that are numbers.
_NUMBER_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("seed", "steps", "width", "height", "num_frames"), (int,)),
    **dict.fromkeys(("cfg_scale", "fps"), (int, float)),
}


def declare_parameter(name: str, value: Any, item: NodeInput | None) -> ParameterDeclaration:
    """Return the declaration of a parameter whose value in the graph is `value`."""
    options = item.options if item else {}
    if name in _WELL_KNOWN_PARAMETERS:
        return _WELL_KNOWN_PARAMETERS[name](value, options)
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


def _declare_side(value: Any, options: Mapping[str, Any]) -> ParameterDeclaration:
    grid = int(options.get("step") or 1)
    grid = grid if grid > 8 and value % grid == 0 else 1
    step = 8 if value % 8 == 0 else 1
    low = min(256, value) if value % 8 == 0 else 1
    low = max(grid, low - low % grid)
    high = min(int(options.get("max", 2048)), max(2048, value))
    return _integer_declaration(value, low, high) | ({"step": step} if step > 1 else {}) | _grid_keys(grid, 0)


def _declare_frame_count(value: Any, options: Mapping[str, Any]) -> ParameterDeclaration:
    grid = int(options.get("step") or 1)
    offset = value % grid
    least = max(1, int(options.get("min", 1)))
    low = least + (offset - least) % grid
    return _integer_declaration(value, min(low, value), max(257, value)) | _grid_keys(grid, offset)


def _integer_declaration(value: int, low: int, high: int) -> ParameterDeclaration:
    return {"type": "integer", "default": value, "minimum": low, "maximum": high}


def _grid_keys(grid: int, offset: int) -> ParameterDeclaration:
    return ({"grid": grid} if grid > 1 else {}) | ({"grid_offset": offset} if offset else {})


def _declare_guidance(value: Any, options: Mapping[str, Any]) -> ParameterDeclaration:
    high = min(float(options.get("max", 30.0)), max(30.0, float(value)))
    return {"type": "number", "default": float(value), "minimum": 0.0, "maximum": high, "step": 0.1}


_WELL_KNOWN_PARAMETERS: Mapping[str, Callable[[Any, Mapping[str, Any]], ParameterDeclaration]] = {
    "prompt": lambda value, _: {"type": "string", "required": True, "blank": False},
    "negative_prompt": lambda value, _: {"type": "string", "default": str(value)},
    "seed": lambda value, _: {"type": "seed"},
    "steps": lambda value, options: _integer_declaration(
        value, 1, min(options.get("max", value), max(100, value))
    ),
    "cfg_scale": _declare_guidance,
    "width": _declare_side,
    "height": _declare_side,
    "num_frames": _declare_frame_count,
    "fps": lambda value, _: _integer_declaration(round(value), 1, max(60, round(value))),
    "image": lambda value, _: {"type": "image", "required": True},
    "image2": lambda value, _: {"type": "image", "required": True},
    "image3": lambda value, _: {"type": "image", "required": True},
    "image4": lambda value, _: {"type": "image", "required": True},
    "mask": lambda value, _: {"type": "image", "required": True},
    "video": lambda value, _: {"type": "video", "required": True},
    "audio": lambda value, _: {"type": "audio", "required": True},
}

"""The range of a number that a graph computes, as far as it is known before the run.

Nothing is evaluated: expressions are parsed, and only the ends of ranges are computed.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.catalog.rendering.graph import ApiGraph, Link, parse_link
from orchestrator.own_graphs.limits import GraphLimits


class Range(NamedTuple):
    """The least and the largest value."""

    low: float
    high: float


UNKNOWN: Range | None = None
#: Classes that report properties of images that exist, which are bounded where these were made.
_MEASURES = frozenset({"GetImageSize", "GetVideoComponents"})
#: Classes that pass on one of these inputs.
_PASSED: Mapping[str, tuple[str, ...]] = {
    "PrimitiveInt": ("value",),
    "PrimitiveFloat": ("value",),
    "PrimitiveBoolean": ("value",),
    "ComfyNumberConvert": ("value",),
    "ComfySwitchNode": ("on_false", "on_true"),
}
#: Sides of a `ResolutionSelector` at one megapixel: an aspect ratio of 4 at most.
_SELECTED_SIDE = 2048.0
_MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class NumberRanges:
    """Finds the ranges of the numbers of one graph."""

    graph: ApiGraph
    limits: GraphLimits
    _known: dict[str, Range | None] = field(default_factory=dict)

    def of(self, value: Any, depth: int = 0) -> Range | None:
        """Return the range of a literal or a link; None if it is not known."""
        link = parse_link(value)
        if link is None:
            return _literal(value)
        if link.node not in self.graph or depth > _MAX_DEPTH:
            return UNKNOWN
        if link.node not in self._known:
            self._known[link.node] = self._of_node(link, depth + 1)
        return self._known[link.node]

    def _of_node(self, link: Link, depth: int) -> Range | None:
        node = self.graph[link.node]
        class_type, inputs = node["class_type"], node["inputs"]
        if class_type in _MEASURES:
            return Range(1.0, float(max(self.limits.max_side, self.limits.max_frames)))
        if class_type == "ResolutionSelector":
            area = self.of(inputs.get("megapixels"), depth)
            return area and Range(1.0, _SELECTED_SIDE * math.sqrt(max(area.high, 0.0)))
        if class_type == "ComfyMathExpression":
            names = {
                name.partition(".")[2]: self.of(value, depth)
                for name, value in inputs.items()
                if name.startswith("values.")
            }
            return range_of_expression(inputs.get("expression"), names)
        return _union([self.of(inputs.get(name), depth) for name in _PASSED.get(class_type, ())])


def range_of_expression(text: Any, names: Mapping[str, Range | None]) -> Range | None:
    """Return the range of an arithmetic expression; None if it has anything else in it."""
    try:
        tree = ast.parse(text, mode="eval") if isinstance(text, str) else None
        found = None if tree is None else _of_expression(tree.body, names)
    except (SyntaxError, ValueError, RecursionError, MemoryError, ArithmeticError):
        return UNKNOWN
    return found if found is not None and all(map(math.isfinite, found)) else UNKNOWN


def _of_expression(node: ast.expr, names: Mapping[str, Range | None]) -> Range | None:
    match node:
        case ast.Constant(value=value):
            return _literal(value)
        case ast.Name(id=name):
            return names.get(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            found = _of_expression(operand, names)
            return found and Range(-found.high, -found.low)
        case ast.BinOp(left=left, op=op, right=right):
            return _of_operation(op, _of_expression(left, names), _of_expression(right, names))
        case ast.IfExp(body=body, orelse=other):
            return _union([_of_expression(body, names), _of_expression(other, names)])
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]):
            return _of_call(function, [_of_expression(argument, names) for argument in arguments])
        case ast.Compare() | ast.BoolOp():
            return Range(0.0, 1.0) if isinstance(node, ast.Compare) else UNKNOWN
    return UNKNOWN


def _of_operation(op: ast.operator, left: Range | None, right: Range | None) -> Range | None:
    if left is None or right is None:
        return UNKNOWN
    ends: Callable[[float, float], float]
    match op:
        case ast.Add():
            return Range(left.low + right.low, left.high + right.high)
        case ast.Sub():
            return Range(left.low - right.high, left.high - right.low)
        case ast.Mod():
            return Range(0.0, right.high) if right.low > 0 else UNKNOWN
        case ast.Mult():
            ends = float.__mul__
        case ast.Div() | ast.FloorDiv() if right.low > 0 or right.high < 0:
            ends = float.__truediv__
        case _:
            return UNKNOWN
    found = [ends(float(one), float(other)) for one in left for other in right]
    return Range(math.floor(min(found)), max(found)) if isinstance(op, ast.FloorDiv) else _span(found)


def _of_call(function: str, arguments: list[Range | None]) -> Range | None:
    known = [argument for argument in arguments if argument is not None]
    if not known or len(known) < len(arguments):
        return UNKNOWN
    first = known[0]
    match function:
        case "min":
            return Range(min(one.low for one in known), min(one.high for one in known))
        case "max":
            return Range(max(one.low for one in known), max(one.high for one in known))
        case "int" | "float" | "round" | "floor" | "ceil":
            return Range(math.floor(first.low), math.ceil(first.high))
        case "abs":
            return Range(0.0, max(map(abs, first)))
        case "sqrt" if first.low >= 0:
            return Range(math.sqrt(first.low), math.sqrt(first.high))
    return UNKNOWN


def _span(values: list[float]) -> Range:
    return Range(min(values), max(values))


def _union(found: list[Range | None]) -> Range | None:
    known = [one for one in found if one is not None]
    if not known or len(known) < len(found):
        return UNKNOWN
    return Range(min(one.low for one in known), max(one.high for one in known))


def _literal(value: Any) -> Range | None:
    """Return the range of a number, also one that is written as text, as ComfyUI reads it."""
    if not isinstance(value, int | float | str):
        return UNKNOWN
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return UNKNOWN
    return Range(number, number) if math.isfinite(number) else UNKNOWN

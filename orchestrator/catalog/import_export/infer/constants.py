"""Trace the value of an input to the constants that it is computed from.

A size may be a literal of a primitive node, be halved by a formula, or be read from an image that was scaled
to it: an import needs the literal that the author wrote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.import_export.infer.arithmetic import Numeric, evaluate_formula
from orchestrator.catalog.rendering.graph import ApiGraph, Link, parse_link

# Input names of nodes that only hold a value.
_VALUE_INPUT_NAMES = ("value", "string", "text", "number")
_PRIMITIVE_CLASSES = ("PrimitiveInt", "PrimitiveFloat", "PrimitiveBoolean", "PrimitiveString")
_MAX_HOPS = 50


@dataclass(frozen=True, slots=True)
class InputRef:
    """An input of a node."""

    node: str
    input: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is the same in every run."""

    value: Any
    #: The literals that determine it, or outputs that depend on several literals, with their values.
    origins: Mapping[InputRef | Link, Any]
    #: The output that computes it; None if it is passed on unchanged from a literal.
    computed_by: Link | None = None


def trace_constant(graph: ApiGraph, node: str, name: str) -> Constant | None:
    """Return the constant value of the input `name`; None if it depends on more than constants."""
    return _ConstantTracer(graph).trace_input(node, name)


class _ConstantTracer:
    """Traces values upstream. Each output is traced once, which also ends cycles."""

    def __init__(self, graph: ApiGraph) -> None:
        self._graph = graph
        self._traced: dict[Link, Constant | None] = {}
        self._hops = 0

    def trace_input(self, node: str, name: str) -> Constant | None:
        value = self._graph[node]["inputs"].get(name)
        link = parse_link(value)
        if link is not None:
            return self._trace_output(link)
        if value is None or isinstance(value, list | dict):
            return None
        return Constant(value, {InputRef(node, name): value})

    def _trace_positive_number(self, node: str, name: str) -> Constant | None:
        """Return a positive number; a side of 0 means that the node derives it from the other side."""
        found = self.trace_input(node, name)
        value = found.value if found else None
        return found if isinstance(value, int | float) and 0 < value < 2**20 else None

    def _trace_output(self, link: Link) -> Constant | None:
        if link in self._traced or link.node not in self._graph or self._hops >= _MAX_HOPS:
            return self._traced.get(link)
        self._traced[link] = None
        self._hops += 1
        trace = _CLASS_TRACERS.get(self._graph[link.node]["class_type"], _ConstantTracer._trace_value_node)
        self._traced[link] = trace(self, link)
        self._hops -= 1
        return self._traced[link]

    def _trace_value_node(self, link: Link) -> Constant | None:
        """Return the value of a node that only holds one, whatever its class."""
        inputs = self._graph[link.node]["inputs"]
        written = [name for name in _VALUE_INPUT_NAMES if name in inputs and parse_link(inputs[name]) is None]
        if not written or any(parse_link(value) for value in inputs.values()):
            return None
        return self.trace_input(link.node, written[0])

    def _trace_primitive(self, link: Link) -> Constant | None:
        return self.trace_input(link.node, "value")

    def _trace_formula(self, link: Link) -> Constant | None:
        inputs = self._graph[link.node]["inputs"]
        names = [name for name in inputs if name.startswith("values.")]
        values = {name: self.trace_input(link.node, name) for name in names}
        known = {name: item for name, item in values.items() if item is not None}
        if len(known) < len(names) or not isinstance(inputs.get("expression"), str):
            return None
        numbers = {name.removeprefix("values."): item.value for name, item in known.items()}
        try:
            result = evaluate_formula(inputs["expression"], numbers)
        except ValueError:
            return None
        if len(known) == 1 and next(iter(known.values())).value == result:
            return next(iter(known.values()))
        origins = {origin: value for item in known.values() for origin, value in item.origins.items()}
        return Constant(_to_slot_type(result, link.slot), origins, link)

    def _trace_resolution_selector(self, link: Link) -> Constant | None:
        """Return a side for given megapixels and aspect ratio; its origin is this output, not a literal."""
        ratio = self.trace_input(link.node, "aspect_ratio")
        pixels, multiple = (
            self._trace_positive_number(link.node, name) for name in ("megapixels", "multiple")
        )
        parts = re.match(r"([1-9]\d*):([1-9]\d*)", str(ratio.value)) if ratio else None
        if not (parts and pixels and multiple) or link.slot > 1:
            return None
        sides = int(parts[1]), int(parts[2])
        scale = math.sqrt(pixels.value * 2**20 / math.prod(sides))
        value = round(sides[link.slot] * scale / multiple.value) * multiple.value
        return Constant(value, {link: value}, link)

    def _trace_image_size(self, link: Link) -> Constant | None:
        return (
            self._trace_image_side(link.node, "image", ("width", "height")[link.slot])
            if link.slot < 2
            else None
        )

    def _trace_image_side(self, node: str, name: str, side: str) -> Constant | None:
        """Return the `width` or `height` of the image that a node gets."""
        link = parse_link(self._graph[node]["inputs"].get(name))
        if link is None or link.node not in self._graph or self._hops >= _MAX_HOPS:
            return None
        self._hops += 1
        source = self._graph[link.node]
        found: Constant | None = None
        if source["class_type"] in _EXPLICIT_SIZE_CLASSES:
            found = self._trace_positive_number(link.node, side)
        elif source["class_type"] in _SIZE_PRESERVING_CLASSES:
            found = self._trace_image_side(link.node, _SIZE_PRESERVING_CLASSES[source["class_type"]], side)
        elif source["inputs"].get("resize_type") == "scale dimensions":
            found = self._trace_positive_number(link.node, f"resize_type.{side}")
        elif source["class_type"] == "ImageScaleBy":
            found = self._trace_scaled_side(link, side)
        self._hops -= 1
        return found

    def _trace_scaled_side(self, link: Link, side: str) -> Constant | None:
        whole, factor = (
            self._trace_image_side(link.node, "image", side),
            self._trace_positive_number(link.node, "scale_by"),
        )
        if whole is None or factor is None:
            return None
        return Constant(round(whole.value * factor.value), {**whole.origins}, link)


def _to_slot_type(result: Numeric, slot: int) -> Numeric:
    """Convert to the type of a formula's output slot: float, integer or boolean."""
    return (float, int, bool)[slot](result) if slot < 3 else result


_EXPLICIT_SIZE_CLASSES = frozenset({"EmptyImage", "ImageScale"})
#: Nodes whose output image has the size of an input image, and the name of that input.
_SIZE_PRESERVING_CLASSES = {
    "PreviewImage": "images",
    "ImageInvert": "image",
    "ImageFromBatch": "image",
    "Canny": "image",
}

_CLASS_TRACERS: Mapping[str, Callable[[_ConstantTracer, Link], Constant | None]] = {
    **dict.fromkeys(_PRIMITIVE_CLASSES, _ConstantTracer._trace_primitive),
    "ComfyNumberConvert": _ConstantTracer._trace_primitive,
    "ComfyMathExpression": _ConstantTracer._trace_formula,
    "ResolutionSelector": _ConstantTracer._trace_resolution_selector,
    "GetImageSize": _ConstantTracer._trace_image_size,
}

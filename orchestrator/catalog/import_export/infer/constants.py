"""Which constants of a graph an input's value comes from, through nodes that only hand on or compute.

A size may be written on a primitive, halved by a formula or read off a picture that was scaled to it:
what matters is where the author wrote it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.import_export.infer.arithmetic import Number, evaluate
from orchestrator.catalog.rendering.graph import Link, as_link

ApiGraph = dict[str, dict[str, Any]]

# What a node that only holds a value calls it.
_HELD = ("value", "string", "text", "number")
_CARRIERS = ("PrimitiveInt", "PrimitiveFloat", "PrimitiveBoolean", "PrimitiveString")
_MAX_HOPS = 50


@dataclass(frozen=True, slots=True)
class Place:
    """One literal of a graph: an input of a node."""

    node: str
    input: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is the same in every run."""

    value: Any
    #: Where it is decided, and what stands there: literals, or outputs that several literals decide.
    origins: Mapping[Place | Link, Any]
    #: The output that computes it; None for what is only handed on from a literal.
    computed: Link | None = None


def constant(graph: ApiGraph, node: str, name: str) -> Constant | None:
    """What the input `name` of a node gets; None where that depends on more than constants."""
    return _Trace(graph).input(node, name)


class _Trace:
    """One walk upstream. Outputs that were seen are not walked again, also not those in a circle."""

    def __init__(self, graph: ApiGraph) -> None:
        self._graph = graph
        self._known: dict[Link, Constant | None] = {}
        self._hops = 0

    def input(self, node: str, name: str) -> Constant | None:
        value = self._graph[node]["inputs"].get(name)
        link = as_link(value)
        if link is not None:
            return self._output(link)
        if value is None or isinstance(value, list | dict):
            return None
        return Constant(value, {Place(node, name): value})

    def _number(self, node: str, name: str) -> Constant | None:
        """A positive one: a side of 0 is made to fit the other one."""
        found = self.input(node, name)
        value = found.value if found else None
        return found if isinstance(value, int | float) and 0 < value < 2**20 else None

    def _output(self, link: Link) -> Constant | None:
        if link in self._known or link.node not in self._graph or self._hops >= _MAX_HOPS:
            return self._known.get(link)
        self._known[link] = None
        self._hops += 1
        trace = _CLASSES.get(self._graph[link.node]["class_type"], _Trace._held)
        self._known[link] = trace(self, link)
        self._hops -= 1
        return self._known[link]

    def _held(self, link: Link) -> Constant | None:
        """The one value of a node that holds it for others, whatever its class."""
        inputs = self._graph[link.node]["inputs"]
        written = [name for name in _HELD if name in inputs and as_link(inputs[name]) is None]
        if not written or any(as_link(value) for value in inputs.values()):
            return None
        return self.input(link.node, written[0])

    def _carried(self, link: Link) -> Constant | None:
        return self.input(link.node, "value")

    def _formula(self, link: Link) -> Constant | None:
        inputs = self._graph[link.node]["inputs"]
        names = [name for name in inputs if name.startswith("values.")]
        values = {name: self.input(link.node, name) for name in names}
        known = {name: item for name, item in values.items() if item is not None}
        if len(known) < len(names) or not isinstance(inputs.get("expression"), str):
            return None
        numbers = {name.removeprefix("values."): item.value for name, item in known.items()}
        try:
            result = evaluate(inputs["expression"], numbers)
        except ValueError:
            return None
        if len(known) == 1 and next(iter(known.values())).value == result:
            return next(iter(known.values()))
        origins = {origin: value for item in known.values() for origin, value in item.origins.items()}
        return Constant(_as_output(result, link.slot), origins, link)

    def _resolution(self, link: Link) -> Constant | None:
        """A side of so many megapixels at an aspect ratio: decided here, for no literal says it."""
        ratio = self.input(link.node, "aspect_ratio")
        pixels, multiple = (self._number(link.node, name) for name in ("megapixels", "multiple"))
        parts = re.match(r"([1-9]\d*):([1-9]\d*)", str(ratio.value)) if ratio else None
        if not (parts and pixels and multiple) or link.slot > 1:
            return None
        sides = int(parts[1]), int(parts[2])
        scale = math.sqrt(pixels.value * 2**20 / math.prod(sides))
        value = round(sides[link.slot] * scale / multiple.value) * multiple.value
        return Constant(value, {link: value}, link)

    def _picture_side(self, link: Link) -> Constant | None:
        return self._side(link.node, "image", ("width", "height")[link.slot]) if link.slot < 2 else None

    def _side(self, node: str, name: str, side: str) -> Constant | None:
        """`width` or `height` of the picture that a node gets."""
        link = as_link(self._graph[node]["inputs"].get(name))
        if link is None or link.node not in self._graph or self._hops >= _MAX_HOPS:
            return None
        self._hops += 1
        maker = self._graph[link.node]
        found: Constant | None = None
        if maker["class_type"] in _SIZED:
            found = self._number(link.node, side)
        elif maker["class_type"] in _AS_LARGE:
            found = self._side(link.node, _AS_LARGE[maker["class_type"]], side)
        elif maker["inputs"].get("resize_type") == "scale dimensions":
            found = self._number(link.node, f"resize_type.{side}")
        elif maker["class_type"] == "ImageScaleBy":
            found = self._scaled(link, side)
        self._hops -= 1
        return found

    def _scaled(self, link: Link, side: str) -> Constant | None:
        whole, factor = self._side(link.node, "image", side), self._number(link.node, "scale_by")
        if whole is None or factor is None:
            return None
        return Constant(round(whole.value * factor.value), {**whole.origins}, link)


def _as_output(result: Number, slot: int) -> Number:
    """The outputs of a formula are one number as float, integer and truth."""
    return (float, int, bool)[slot](result) if slot < 3 else result


_SIZED = frozenset({"EmptyImage", "ImageScale"})
#: Nodes that give a picture as large as the one that they get, and the input's name.
_AS_LARGE = {"PreviewImage": "images", "ImageInvert": "image", "ImageFromBatch": "image", "Canny": "image"}

_CLASSES: Mapping[str, Callable[[_Trace, Link], Constant | None]] = {
    **dict.fromkeys(_CARRIERS, _Trace._carried),
    "ComfyNumberConvert": _Trace._carried,
    "ComfyMathExpression": _Trace._formula,
    "ResolutionSelector": _Trace._resolution,
    "GetImageSize": _Trace._picture_side,
}

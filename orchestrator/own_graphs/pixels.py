"""Bounds how many pixels one node of a caller's graph may make.

Each takes 12 bytes of the instance's memory (three 32-bit numbers), whatever the node does with it. What a
graph loads counts as one megapixel: files have limits of their own, and `growth` bounds what is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from orchestrator.catalog.rendering.graph import ApiGraph, parse_link
from orchestrator.own_graphs.growth import ENLARGED_BY_WEIGHTS
from orchestrator.own_graphs.limits import GraphLimits
from orchestrator.own_graphs.number_ranges import NumberRanges
from orchestrator.own_graphs.parsing import topological_order
from orchestrator.own_graphs.rejections import NodeProblem

_MEGA = 1e6
#: Inputs whose product is the number of frames that a node makes.
_COUNTS = ("batch_size", "length", "num_frames", "video_frames", "frames_number")
#: Inputs of which one says the longest side.
_LONGEST = ("largest_size", "longer_size", "longest", "longer_edge", "longer_side", "max_dimension")
#: Classes that put frames behind each other, and beside each other.
_BATCHES = frozenset({
    "BatchImagesNode", "BatchLatentsNode", "BatchMasksNode", "CreateList", "ImageBatch", "LatentBatch",
    "MergeImageLists",
})  # fmt: skip
_COLLAGES = frozenset({"ImageGrid", "ImageStitch", "LatentConcat"})
#: Inputs that multiply the frames, and the sides.
_REPEATS: Mapping[str, str] = {
    "FrameInterpolate": "multiplier",
    "RepeatImageBatch": "amount",
    "RepeatLatentBatch": "amount",
}
_SCALES: Mapping[str, str] = {"ImageScaleBy": "scale_by", "LatentUpscaleBy": "scale_by"}


@dataclass(frozen=True, slots=True)
class Extent:
    """The largest images that a node can make."""

    #: Pixels of one image.
    area: float = _MEGA
    #: Number of images.
    count: float = 1.0

    @property
    def pixels(self) -> float:
        """Pixels of all of them."""
        return self.area * self.count


def find_oversized(graph: ApiGraph, limits: GraphLimits) -> Iterator[NodeProblem]:
    """Yield the first node that may make more pixels than allowed."""
    ranges = NumberRanges(graph, limits)
    extents: dict[str, Extent] = {}
    for id in topological_order(graph):
        node = graph[id]
        links = (parse_link(value) for value in node["inputs"].values())
        sources = [extents[link.node] for link in links if link is not None]
        extents[id] = found = _extent_of(node, sources, ranges)
        if found.pixels > limits.max_megapixels * _MEGA:
            yield NodeProblem(
                node=id,
                class_type=node["class_type"],
                type="images_too_large",
                message=f"makes up to {found.count:.0f} image(s) of {found.area / _MEGA:.3g} megapixels,"
                f" {found.pixels / _MEGA:.4g} in all; at most {limits.max_megapixels} are allowed: make fewer"
                " or smaller ones",
            )
            return


def _extent_of(node: Mapping[str, Any], sources: list[Extent], ranges: NumberRanges) -> Extent:
    numbers = {name.rpartition(".")[2]: value for name, value in node["inputs"].items()}

    def read(name: str) -> float | None:
        """Return the largest value of a number; None if the node has none of this name."""
        found = ranges.of(numbers[name]) if name in numbers else None
        return None if found is None else max(1.0, found.high)

    area = max((source.area for source in sources), default=_MEGA)
    count = max((source.count for source in sources), default=1.0)
    class_type = node["class_type"]
    if class_type in _BATCHES:
        count = sum(source.count for source in sources)
    elif class_type in _COLLAGES:
        area, count = sum(source.pixels for source in sources), 1.0
    count *= (read(_REPEATS[class_type]) or 1.0) if class_type in _REPEATS else 1.0
    area *= (read(_SCALES[class_type]) or 1.0) ** 2 if class_type in _SCALES else 1.0
    area *= ENLARGED_BY_WEIGHTS.get(class_type, 1.0)
    return Extent(_read_area(read, area), _read_count(read, count))


def _read_area(read: Callable[[str], float | None], area: float) -> float:
    """Return the pixels that the inputs of a node say, or what follows from its sources."""
    width, height, megapixels = read("width"), read("height"), read("megapixels")
    if width is not None and height is not None:
        return float(width * height)
    longest = [side for name in _LONGEST if (side := read(name)) is not None]
    if longest:
        return float(max(longest) ** 2)
    return area if megapixels is None else max(1.0, float(megapixels)) * _MEGA


def _read_count(read: Callable[[str], float | None], count: float) -> float:
    found = [number for name in _COUNTS if (number := read(name)) is not None]
    return prod(found) if found else count

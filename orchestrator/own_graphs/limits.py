"""Bounds of callers' graphs, as numbers that operators set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphLimits:
    """The largest graph and the largest values that a caller may send."""

    #: Bytes of the graph as JSON.
    max_bytes: int = 256 * 1024
    max_nodes: int = 500
    #: Nodes of the longest chain of links.
    max_depth: int = 200
    #: Characters of one text.
    max_text: int = 50_000
    #: Pixels of one side.
    max_side: int = 4096
    max_steps: int = 200
    max_batch: int = 16
    max_frames: int = 500
    #: Seconds of audio.
    max_seconds: int = 600
    #: Factor by which one node enlarges.
    max_scale: int = 8
    #: Millions of pixels that one node makes, of all its images: 12 bytes each in memory.
    max_megapixels: int = 2048
    #: How many times more data a chain of nodes may hold than one image or one text.
    max_growth: int = 1024

    def bounds(self) -> Iterator[Bound]:
        """Yield the bounds of numbers, by the name of an input."""
        for pattern, field in _BOUNDED_NAMES.items():
            yield Bound(pattern, getattr(self, field), field)

    def find_bound(self, name: str) -> Bound | None:
        """Return the bound of an input with this name; None for one that costs nothing."""
        last = name.rpartition(".")[2].lower()
        return next((bound for bound in self.bounds() if bound.pattern.fullmatch(last)), None)


@dataclass(frozen=True, slots=True)
class Bound:
    """The largest value of all inputs whose names match."""

    pattern: re.Pattern[str]
    most: int
    #: Name of the limit.
    limit: str


_BOUNDED_NAMES: Mapping[re.Pattern[str], str] = {
    re.compile(
        r"(target_|tile_|max_|min_)?(width|height)|resolution|dimension|longest|(longer|shorter)_(edge|side)"
        r"|largest_size|size|resolution_(width|height)|left|right|top|bottom|tile_size|max_dimension"
        r"|longer_size|shorter_size|smallest_size"
    ): "max_side",
    re.compile(r"steps|num_inference_steps|solver_steps|steps_per_.*"): "max_steps",
    re.compile(r"batch_size|amount|batch|repeats|num_images|columns|rows|num_samples"): "max_batch",
    re.compile(r"length|(num_|video_)?frames?(_count|_number)?|frames_number|num_frames"): "max_frames",
    re.compile(r"seconds|duration"): "max_seconds",
    re.compile(r"scale_by|upscale_by|scale_factor|multiplier|megapixels|upscale_factor"): "max_scale",
}

"""Output sizes that a model supports, and the nearest ones to a wanted size or aspect ratio."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import product, starmap
from typing import TYPE_CHECKING, Any

from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.errors import InvalidRequest, invalid_field

if TYPE_CHECKING:
    from orchestrator.catalog.manifest import ModelManifest
    from orchestrator.catalog.model import Model

#: Weight of an error in the aspect ratio relative to one in the area.
ASPECT_RATIO_WEIGHT = 4
#: How far the shape of a default size may be from an aspect ratio that it stands for, as a logarithm.
STANDARD_SHAPE_TOLERANCE = 0.05
#: Sides that are suggested are multiples of this, where there are such.
_SEARCH_STEP = 8
#: Sides of sizes with exactly a wanted aspect ratio are multiples of this: videos cannot have odd sides.
_EXACT_STEP = 4
#: A size with exactly the wanted aspect ratio is taken if it has this share of the pixels of the nearest one.
_EXACT_AREA_SHARE = 0.75
#: Errors of sizes that differ by less are compared.
_ROUNDING = 1e-9
#: How far a side of a suggested size may be from the wanted one where the shape need not be kept, in pixels.
_MAX_ADJACENT_DISTANCE = 64
#: Sides beyond this are treated alike in the search for the nearest sizes.
_MAX_WANTED_SIDE = 2**20


@dataclass(frozen=True, slots=True)
class OutputSizes:
    """The output sizes that a model supports."""

    width: IntegerParameter
    height: IntegerParameter
    #: Largest output; either side may be the longer one.
    max_size: Size

    @classmethod
    def from_model(cls, model: Model) -> OutputSizes | None:
        """Return the sizes of a model; None if requests cannot set width and height."""
        return cls.from_manifest(model.manifest)

    @classmethod
    def from_manifest(cls, manifest: ModelManifest) -> OutputSizes | None:
        """Return the sizes that a manifest declares; None if requests cannot set width and height."""
        width, height = manifest.parameters.get("width"), manifest.parameters.get("height")
        if not isinstance(width, IntegerParameter) or not isinstance(height, IntegerParameter):
            return None
        return cls(width, height, manifest.max_size)

    @property
    def max_pixels(self) -> int:
        """Maximum width times height."""
        return self.max_size.area

    @property
    def default_size(self) -> Size:
        """The default sides; 1024 for a model that takes its size from an input image."""
        return Size(self.width.default or 1024, self.height.default or 1024)

    def default_area(self, aspect_ratio: Fraction) -> float:
        """Return the number of pixels of the default size.

        If its shape stands for the ratio, as 1280x704 stands for 16:9, it is that of 1280x720.
        """
        longer, shorter = max(self.default_size), min(self.default_size)
        shape = max(aspect_ratio, 1 / aspect_ratio)
        is_near = abs(math.log(longer / shorter / shape)) <= STANDARD_SHAPE_TOLERANCE
        return max(longer * shorter, float(longer * longer / shape)) if is_near else longer * shorter

    def made_size(self, size: Size) -> Size:
        """Return the size that the graph makes for a requested one, which is cut out of it."""
        return Size(self.width.round_up_to_grid(size.width), self.height.round_up_to_grid(size.height))

    def fits_area(self, size: Size) -> bool:
        """Return whether the size, and that which the graph makes for it, are within the largest area.

        A model that makes multiples of 64 makes 1280x768 for its largest size 1280x720.
        """
        if size.area > self.max_pixels:
            return False
        made = self.made_size(size)
        return made == size or made.area <= self.made_size(self.max_size).area

    def allows(self, size: Size) -> bool:
        """Return whether requests may ask for the size."""
        return self.width.allows(size.width) and self.height.allows(size.height) and self.fits_area(size)

    def nearest_sizes(self, size: Size) -> list[Size]:
        """Return the two supported sizes nearest to a wanted one; fewer if there are not two.

        Those whose sides are next to the wanted sides come first, then those nearest in shape and area.
        """
        size = _limited(size)
        near = sorted(
            self._adjacent_sizes(size), key=lambda one: (sum(_side_distances(one, size)), -one.area)
        )
        return list(dict.fromkeys([*near, *self._nearest_by_shape(size)]))[:2]

    def _adjacent_sizes(self, size: Size) -> Iterator[Size]:
        """Yield supported sizes with sides next to those of a size, and not far from them."""
        sides = zip((self.width, self.height), size, strict=True)
        for one in starmap(Size, product(*(_adjacent_lengths(_lengths(spec), side) for spec, side in sides))):
            if self.allows(one) and max(_side_distances(one, size)) <= _MAX_ADJACENT_DISTANCE:
                yield one

    def _nearest_by_shape(self, size: Size) -> list[Size]:
        """Return the two supported sizes with the least difference in aspect ratio and area."""
        wanted = _limited(size)
        ratio = wanted.width / wanted.height
        found = dict.fromkeys(self._candidates(ratio, self.max_pixels))
        return sorted(found, key=lambda one: _size_error(one, ratio, wanted.area))[:2]

    def validate_area(self, size: Size) -> None:
        """Raise InvalidRequest for too many pixels: each side is within its range, but both together not."""
        if not self.fits_area(size):
            largest = f"{self.max_size.width}x{self.max_size.height}"
            nearest = self.list_nearest(size)
            raise invalid_field(
                "size",
                f"must have at most as many pixels as {largest} (got {size.width}x{size.height})"
                f"{f'; the nearest sizes are {nearest}' if nearest else ''}",
            )

    def list_nearest(self, size: Size) -> str:
        """Return the text `WIDTHxHEIGHT and WIDTHxHEIGHT` of the two nearest sizes."""
        return " and ".join(f"{one.width}x{one.height}" for one in self.nearest_sizes(size))

    def fit_aspect_ratio(self, aspect_ratio: float, max_area: float, *, on_grid: bool = False) -> Size | None:
        """Return the largest size near that aspect ratio within `max_area` pixels; None if all are larger.

        `on_grid` keeps to sizes that the graph makes without a cut.
        """
        if max_area < self.width.minimum * self.height.minimum:
            return None
        ideal_width = math.sqrt(max_area * aspect_ratio)

        def smallest_error(width: int) -> float:
            """Return the error of the best height, were it allowed."""
            return 2 * abs(math.log(width / ideal_width))

        limit = min(max_area, self.max_pixels)
        heights = _allowed_lengths(self.height, on_grid=on_grid)
        best, error = None, math.inf
        for width in _outwards(_allowed_lengths(self.width, on_grid=on_grid), ideal_width):
            if smallest_error(width) > error + _ROUNDING:
                break
            for size in self._sizes_of_width(width, aspect_ratio, limit, heights):
                found = _size_error(size, aspect_ratio, max_area)
                if best is None or (found, size) < (error, best):
                    best, error = size, found
        return best

    def fit_exact_ratio(
        self, aspect_ratio: Fraction, max_area: float, *, on_grid: bool = False
    ) -> Size | None:
        """Return the largest size of that aspect ratio within `max_area` pixels, or of one near it.

        A size of exactly that ratio is preferred to a larger one near it, within limits; `on_grid` applies to
        the latter. Returns None if all sizes are larger.
        """
        nearest = self.fit_aspect_ratio(float(aspect_ratio), max_area, on_grid=on_grid)
        if nearest is None:
            return self._largest_exact(aspect_ratio, max_area)
        return self.prefer_exact(aspect_ratio, nearest, max_area)

    def prefer_exact(self, aspect_ratio: Fraction, size: Size, max_area: float) -> Size:
        """Return the largest size of exactly that ratio, or `size` if that has many more pixels."""
        exact = self._largest_exact(aspect_ratio, max_area)
        return exact if exact and exact.area >= _EXACT_AREA_SHARE * size.area else size

    def _largest_exact(self, aspect_ratio: Fraction, max_area: float) -> Size | None:
        """Return the largest size of exactly that ratio within `max_area` pixels; None if there is none."""
        steps = (math.lcm(_search_step(spec), _EXACT_STEP) for spec in (self.width, self.height))
        units = zip(steps, (aspect_ratio.numerator, aspect_ratio.denominator), strict=True)
        factor = math.lcm(*(step // math.gcd(step, part) for step, part in units))
        smallest = Size(factor * aspect_ratio.numerator, factor * aspect_ratio.denominator)
        largest = math.isqrt(int(min(max_area, self.max_pixels) / smallest.area))
        sizes = (Size(smallest.width * by, smallest.height * by) for by in range(largest, 0, -1))
        return next((size for size in sizes if self.allows(size)), None)

    def fit_size(self, width: int, height: int) -> Size:
        """Return the supported size nearest to `width` and `height`."""
        if self.allows(Size(width, height)):
            return Size(width, height)
        return next(iter(self._nearest_by_shape(Size(width, height))), None) or Size(
            self.width.minimum, self.height.minimum
        )

    def _candidates(self, aspect_ratio: float, max_area: float) -> Iterator[Size]:
        """Yield, for every width, the heights next to the aspect ratio, within `max_area` pixels."""
        heights = _allowed_lengths(self.height)
        for width in _allowed_lengths(self.width):
            yield from self._sizes_of_width(width, aspect_ratio, max_area, heights)

    def _sizes_of_width(
        self, width: int, aspect_ratio: float, max_area: float, heights: range
    ) -> Iterator[Size]:
        for height in _adjacent_lengths(heights, width / aspect_ratio):
            size = Size(width, height)
            if size.area <= max_area and self.allows(size):
                yield size


@contextmanager
def errors_name_sizes(sizes: OutputSizes | None, request: Mapping[str, Any]) -> Iterator[None]:
    """Make errors of a width or height name the two nearest sizes that the model supports."""
    try:
        yield
    except InvalidRequest as error:
        if sizes is None or error.param not in ("width", "height"):
            raise
        defaults = sizes.default_size.to_params()
        size = Size(*(defaults[name] if request.get(name) is None else request[name] for name in defaults))
        if not all(type(side) is int for side in size):
            raise
        message = error.message.partition("; the nearest values")[0]
        raise InvalidRequest(
            f"{message}; the nearest sizes are {sizes.list_nearest(size)}", code=error.code, param=error.param
        ) from error


def _search_step(spec: IntegerParameter, *, on_grid: bool = False) -> int:
    return math.lcm(spec.step, spec.grid) if on_grid or spec.off_grid == "reject" else spec.step


def _lengths(spec: IntegerParameter) -> range:
    """Return the lengths of a side that requests may ask for."""
    step = _search_step(spec)
    return range(-(-spec.minimum // step) * step, spec.maximum + 1, step)


def _limited(size: Size) -> Size:
    """Return a size with sides that can be computed with."""
    return Size(*(min(max(side, 1), _MAX_WANTED_SIDE) for side in size))


def _side_distances(one: Size, other: Size) -> tuple[int, int]:
    return abs(one.width - other.width), abs(one.height - other.height)


def _allowed_lengths(spec: IntegerParameter, *, on_grid: bool = False) -> range:
    step = _search_step(spec, on_grid=on_grid)
    lengths = range(-(-spec.minimum // step) * step, spec.maximum + 1, step)
    coarse = math.lcm(step, _SEARCH_STEP)
    # Of a model that makes any number of pixels, a search needs no more.
    return range(-(-spec.minimum // coarse) * coarse, spec.maximum + 1, coarse) or lengths


def _adjacent_lengths(lengths: range, value: float) -> set[int]:
    """Return the lengths next to a value, below and above."""
    below = math.floor(value / lengths.step) * lengths.step
    return {min(max(length, lengths.start), lengths[-1]) for length in (below, below + lengths.step)}


def _size_error(size: Size, aspect_ratio: float, target_area: float) -> float:
    """Return the weighted distance of a size from the wanted ratio and area."""
    ratio_error = abs(math.log(size.width / size.height / aspect_ratio))
    return ASPECT_RATIO_WEIGHT * ratio_error + abs(math.log(size.area / target_area))


def _outwards(lengths: range, middle: float) -> Iterator[int]:
    """Yield lengths by their ratio to `middle`, the nearest first. Callers need few of many."""
    above = bisect_left(lengths, middle)
    below = above - 1
    while below >= 0 or above < len(lengths):
        is_below_next = above == len(lengths) or (
            below >= 0 and middle / lengths[below] <= lengths[above] / middle
        )
        yield lengths[below if is_below_next else above]
        if is_below_next:
            below -= 1
        else:
            above += 1

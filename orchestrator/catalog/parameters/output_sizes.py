"""The sides that a model can make, and which of them come nearest to what is wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.values import Integer

#: How much more a wrong shape counts than a wrong size.
SHAPE_FIRST = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """The sides that a model can make."""

    width: Integer
    height: Integer
    #: Most pixels.
    area: int

    @classmethod
    def of(cls, model: Model) -> Frame | None:
        """None where the sides are not the caller's to choose."""
        width, height = model.parameters.get("width"), model.parameters.get("height")
        if not isinstance(width, Integer) or not isinstance(height, Integer):
            return None
        most = model.manifest.max_sides
        return cls(width, height, most[0] * most[1])

    @property
    def usual(self) -> tuple[int, int]:
        """Where the model takes its size from a picture, a megapixel."""
        return self.width.default or 1024, self.height.default or 1024

    def nearest(self, ratio: float, area: float) -> tuple[int, int] | None:
        """Width and height of about that shape with at most that many pixels; None: all are larger."""
        return self._fitting(ratio, area, min(area, self.area))

    def like(self, width: int, height: int) -> tuple[int, int]:
        """Sides as near to these as the model comes."""
        ratio, area = width / height, float(width * height)
        return self._fitting(ratio, area, self.area) or (self.width.minimum, self.height.minimum)

    def _fitting(self, ratio: float, area: float, most: float) -> tuple[int, int] | None:
        """Sides of about that shape and size with at most `most` pixels."""
        found = [
            (width, height)
            for width in _steps(self.width)
            for height in _around(self.height, width / ratio)
            if width * height <= most
        ]
        return min(found, key=lambda sides: _misfit(sides, ratio, area), default=None)


def sides_like(model: Model, size: tuple[int, int]) -> dict[str, int]:
    """Width and height next to those of a picture; nothing where they are not the caller's to choose."""
    frame = Frame.of(model)
    return {} if frame is None else dict(zip(("width", "height"), frame.like(*size), strict=True))


def _steps(spec: Integer) -> range:
    step = math.lcm(spec.step, spec.grid)
    return range(-(-spec.minimum // step) * step, spec.maximum + 1, step)


def _around(spec: Integer, value: float) -> set[int]:
    """The steps next to a value, below and above."""
    steps = _steps(spec)
    below = math.floor(value / steps.step) * steps.step
    return {min(max(step, steps.start), steps[-1]) for step in (below, below + steps.step)}


def _misfit(sides: tuple[int, int], ratio: float, area: float) -> float:
    width, height = sides
    return SHAPE_FIRST * abs(math.log(width / height / ratio)) + abs(math.log(width * height / area))

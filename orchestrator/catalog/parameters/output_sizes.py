"""The sides that a model can make, and which of them come nearest to what is wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.values import IntegerParameter

#: How much more a wrong shape counts than a wrong size.
ASPECT_RATIO_WEIGHT = 4


@dataclass(frozen=True, slots=True)
class OutputSizes:
    """The sides that a model can make."""

    width: IntegerParameter
    height: IntegerParameter
    #: Most pixels.
    max_pixels: int

    @classmethod
    def from_model(cls, model: Model) -> OutputSizes | None:
        """None where the sides are not the caller's to choose."""
        width, height = model.parameters.get("width"), model.parameters.get("height")
        if not isinstance(width, IntegerParameter) or not isinstance(height, IntegerParameter):
            return None
        most = model.manifest.max_size
        return cls(width, height, most[0] * most[1])

    @property
    def default_size(self) -> tuple[int, int]:
        """Where the model takes its size from a picture, a megapixel."""
        return self.width.default or 1024, self.height.default or 1024

    def fit_aspect_ratio(self, aspect_ratio: float, max_area: float) -> tuple[int, int] | None:
        """Width and height of about that shape with at most that many pixels; None: all are larger."""
        return self._find_best_size(aspect_ratio, max_area, min(max_area, self.max_pixels))

    def fit_size(self, width: int, height: int) -> tuple[int, int]:
        """Sides as near to these as the model comes."""
        ratio, area = width / height, float(width * height)
        return self._find_best_size(ratio, area, self.max_pixels) or (self.width.minimum, self.height.minimum)

    def _find_best_size(
        self, aspect_ratio: float, target_area: float, max_area: float
    ) -> tuple[int, int] | None:
        """Sides of about that shape and size with at most `max_area` pixels."""
        found = [
            (width, height)
            for width in _allowed_lengths(self.width)
            for height in _adjacent_lengths(self.height, width / aspect_ratio)
            if width * height <= max_area
        ]
        return min(found, key=lambda sides: _size_error(sides, aspect_ratio, target_area), default=None)


def size_params_for_image(model: Model, image_size: tuple[int, int]) -> dict[str, int]:
    """Width and height next to those of a picture; nothing where they are not the caller's to choose."""
    frame = OutputSizes.from_model(model)
    return {} if frame is None else dict(zip(("width", "height"), frame.fit_size(*image_size), strict=True))


def _allowed_lengths(spec: IntegerParameter) -> range:
    step = math.lcm(spec.step, spec.grid)
    return range(-(-spec.minimum // step) * step, spec.maximum + 1, step)


def _adjacent_lengths(spec: IntegerParameter, value: float) -> set[int]:
    """The steps next to a value, below and above."""
    steps = _allowed_lengths(spec)
    below = math.floor(value / steps.step) * steps.step
    return {min(max(step, steps.start), steps[-1]) for step in (below, below + steps.step)}


def _size_error(sides: tuple[int, int], aspect_ratio: float, target_area: float) -> float:
    width, height = sides
    return ASPECT_RATIO_WEIGHT * abs(math.log(width / height / aspect_ratio)) + abs(
        math.log(width * height / target_area)
    )

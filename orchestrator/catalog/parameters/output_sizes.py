"""Output sizes that a model supports, and the nearest one to a wanted size or aspect ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.parameters.values import IntegerParameter

#: Weight of an error in the aspect ratio relative to one in the area.
ASPECT_RATIO_WEIGHT = 4


@dataclass(frozen=True, slots=True)
class OutputSizes:
    """The output sizes that a model supports."""

    width: IntegerParameter
    height: IntegerParameter
    #: Maximum width times height.
    max_pixels: int

    @classmethod
    def from_model(cls, model: Model) -> OutputSizes | None:
        """Return the sizes of a model; None if requests cannot set width and height."""
        width, height = model.parameters.get("width"), model.parameters.get("height")
        if not isinstance(width, IntegerParameter) or not isinstance(height, IntegerParameter):
            return None
        return cls(width, height, model.manifest.max_size.area)

    @property
    def default_size(self) -> Size:
        """The default sides; 1024 for a model that takes its size from an input image."""
        return Size(self.width.default or 1024, self.height.default or 1024)

    def fit_aspect_ratio(self, aspect_ratio: float, max_area: float) -> Size | None:
        """Return the largest size near that aspect ratio within `max_area` pixels; None if all are larger."""
        return self._find_best_size(aspect_ratio, max_area, min(max_area, self.max_pixels))

    def fit_size(self, width: int, height: int) -> Size:
        """Return the supported size nearest to `width` and `height`."""
        ratio, area = width / height, float(width * height)
        return self._find_best_size(ratio, area, self.max_pixels) or Size(
            self.width.minimum, self.height.minimum
        )

    def _find_best_size(self, aspect_ratio: float, target_area: float, max_area: float) -> Size | None:
        """Return the size nearest to the ratio and area, with at most `max_area` pixels."""
        candidates = [
            Size(width, height)
            for width in _allowed_lengths(self.width)
            for height in _adjacent_lengths(self.height, width / aspect_ratio)
            if width * height <= max_area
        ]
        return min(candidates, key=lambda size: _size_error(size, aspect_ratio, target_area), default=None)


def size_params_for_image(model: Model, image_size: tuple[int, int]) -> dict[str, int]:
    """Return `width` and `height` nearest to those of an image; {} if requests cannot set them."""
    sizes = OutputSizes.from_model(model)
    return {} if sizes is None else sizes.fit_size(*image_size)._asdict()


def _allowed_lengths(spec: IntegerParameter) -> range:
    step = math.lcm(spec.step, spec.grid)
    return range(-(-spec.minimum // step) * step, spec.maximum + 1, step)


def _adjacent_lengths(spec: IntegerParameter, value: float) -> set[int]:
    """Return the allowed lengths next to a value, below and above."""
    lengths = _allowed_lengths(spec)
    below = math.floor(value / lengths.step) * lengths.step
    return {min(max(length, lengths.start), lengths[-1]) for length in (below, below + lengths.step)}


def _size_error(size: Size, aspect_ratio: float, target_area: float) -> float:
    """Return the weighted distance of a size from the wanted ratio and area."""
    ratio_error = abs(math.log(size.width / size.height / aspect_ratio))
    return ASPECT_RATIO_WEIGHT * ratio_error + abs(math.log(size.area / target_area))

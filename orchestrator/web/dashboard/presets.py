"""Picture sizes that a person picks with one click."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.values import IntegerParameter

ASPECT_RATIOS = {"1:1": Fraction(1), "16:9": Fraction(16, 9), "9:16": Fraction(9, 16)}
#: How far a model's usual size may be from a ratio and still stand for it: 832x480 for 16:9.
ASPECT_TOLERANCE = Fraction(4, 100)
#: Sides are multiples of so many pixels.
SIZE_STEP = 32


def preset_sizes(model: Model) -> dict[str, tuple[int, int]]:
    """Width and height for each ratio, with about as many pixels as the model usually makes.

    Empty for models whose size is not the caller's choice.
    """
    width, height = model.parameters.get("width"), model.parameters.get("height")
    if not (isinstance(width, IntegerParameter) and isinstance(height, IntegerParameter)):
        return {}
    if not (width.default and height.default):
        return {}
    usual = (width.default, height.default)
    return {name: _size_for_ratio(ratio, usual, (width, height)) for name, ratio in ASPECT_RATIOS.items()}


def _size_for_ratio(
    ratio: Fraction, default_size: tuple[int, int], side_parameters: tuple[IntegerParameter, IntegerParameter]
) -> tuple[int, int]:
    width, height = side_parameters
    for size in (default_size, default_size[::-1]):
        near = abs(Fraction(size[0], size[1]) / ratio - 1) <= ASPECT_TOLERANCE
        if near and size[0] <= width.maximum and size[1] <= height.maximum:
            return size
    # Rounded down, so that the area stays within what the model can do.
    area = default_size[0] * default_size[1]
    wide = min(isqrt(int(area * ratio)), width.maximum, int(height.maximum * ratio))
    high = min(isqrt(int(area / ratio)), height.maximum, int(width.maximum / ratio))
    return _snap_to_grid(wide, width), _snap_to_grid(high, height)


def _snap_to_grid(side: int, parameter: IntegerParameter) -> int:
    return parameter.snap_to_grid(max(side - side % SIZE_STEP, parameter.minimum))

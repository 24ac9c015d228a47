"""Preset output sizes for the aspect ratios that the playground offers."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt, lcm

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.values import IntegerParameter

ASPECT_RATIOS = {"1:1": Fraction(1), "16:9": Fraction(16, 9), "9:16": Fraction(9, 16)}
#: How far a model's default size may differ from a ratio and still be its preset, such as 832x480 for 16:9.
ASPECT_TOLERANCE = Fraction(4, 100)
#: Widths and heights are multiples of this number of pixels.
SIZE_STEP = 32


def preset_sizes(model: Model) -> dict[str, tuple[int, int]]:
    """Return width and height for each ratio, with about as many pixels as the model's default size.

    Empty for models without the parameters `width` and `height`.
    """
    width, height = model.parameters.get("width"), model.parameters.get("height")
    if not (isinstance(width, IntegerParameter) and isinstance(height, IntegerParameter)):
        return {}
    if not (width.default and height.default):
        return {}
    return {name: _size_for_ratio(ratio, width, height) for name, ratio in ASPECT_RATIOS.items()}


def _size_for_ratio(ratio: Fraction, width: IntegerParameter, height: IntegerParameter) -> tuple[int, int]:
    default_width, default_height = width.default or width.minimum, height.default or height.minimum
    for size in ((default_width, default_height), (default_height, default_width)):
        is_near = abs(Fraction(size[0], size[1]) / ratio - 1) <= ASPECT_TOLERANCE
        if is_near and size[0] <= width.maximum and size[1] <= height.maximum:
            return size
    # Round down, to stay within the number of pixels that the model supports.
    area = default_width * default_height
    preset_width = min(isqrt(int(area * ratio)), width.maximum, int(height.maximum * ratio))
    preset_height = min(isqrt(int(area / ratio)), height.maximum, int(width.maximum / ratio))
    return _round_down(preset_width, width), _round_down(preset_height, height)


def _round_down(side: int, parameter: IntegerParameter) -> int:
    """Return the largest side that the graph makes without a cut."""
    return max(side - side % lcm(SIZE_STEP, parameter.grid), parameter.minimum)

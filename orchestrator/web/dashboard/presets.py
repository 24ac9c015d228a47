"""Picture sizes that a person picks with one click."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.values import Integer

RATIOS = {"1:1": Fraction(1), "16:9": Fraction(16, 9), "9:16": Fraction(9, 16)}
#: How far a model's usual size may be from a ratio and still stand for it: 832x480 for 16:9.
TOLERANCE = Fraction(4, 100)
#: Sides are multiples of so many pixels.
STEP = 32


def preset_sizes(model: Model) -> dict[str, tuple[int, int]]:
    """Width and height for each ratio, with about as many pixels as the model usually makes.

    Empty for models whose size is not the caller's choice.
    """
    width, height = model.parameters.get("width"), model.parameters.get("height")
    if not (isinstance(width, Integer) and isinstance(height, Integer)):
        return {}
    if not (width.default and height.default):
        return {}
    usual = (width.default, height.default)
    return {name: _size(ratio, usual, (width, height)) for name, ratio in RATIOS.items()}


def _size(ratio: Fraction, usual: tuple[int, int], sides: tuple[Integer, Integer]) -> tuple[int, int]:
    width, height = sides
    for size in (usual, usual[::-1]):
        near = abs(Fraction(size[0], size[1]) / ratio - 1) <= TOLERANCE
        if near and size[0] <= width.maximum and size[1] <= height.maximum:
            return size
    # Rounded down, so that the area stays within what the model can do.
    area = usual[0] * usual[1]
    wide = min(isqrt(int(area * ratio)), width.maximum, int(height.maximum * ratio))
    high = min(isqrt(int(area / ratio)), height.maximum, int(width.maximum / ratio))
    return _on_grid(wide, width), _on_grid(high, height)


def _on_grid(side: int, spec: Integer) -> int:
    return spec.fitted(max(side - side % STEP, spec.minimum))

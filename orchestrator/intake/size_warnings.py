"""Warnings about results without the size or shape of their input, or without the one that was asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.canvases import has_margins
from orchestrator.catalog.parameters.size_text import Size

#: How far a shape may be from an aspect ratio that was asked for, as a logarithm: 1366x768 is 16:9.
ASKED_TOLERANCE = 0.02
#: How far a shape may be from that of the input, as a logarithm: sides are rounded to the model's multiples.
INPUT_TOLERANCE = 0.05
#: The same for a result that is the input image at another scale: sides are rounded to pixels.
SCALED_TOLERANCE = 0.005


def warn_of_input_size(
    model: Model, given: Mapping[str, Any], size: Size, made: Size, *, other_area: bool
) -> Iterator[str]:
    """Yield that a result does not have the size of its input image.

    `given` are the parameters that the request sets. If it asks for another size, without a shape
    (`other_area`), or for a video, the result has the shape of the image only.
    """
    asked = [given.get(name) for name in ("width", "height", "megapixels")]
    if has_margins(model) or (all(asked[:2]) and not other_area):
        return
    if model.makes_video or other_area or any(asked):
        is_scaled = not any(asked[:2]) and not other_area and not model.makes_video
        yield from warn_of_shape(made, size, "image", SCALED_TOLERANCE if is_scaled else INPUT_TOLERANCE)
    elif made != size:
        yield (
            f"the result has {made.width}x{made.height} pixels, not the {size.width}x{size.height} of its"
            " input image; send a size to get another one"
        )


def warn_of_shape(made: Size, size: Size, kind: str, tolerance: float = INPUT_TOLERANCE) -> Iterator[str]:
    """Yield that a result does not have the shape of its input, a video or an image by `kind`."""
    if not _is_near(made, Fraction(*size), tolerance):
        yield (
            f"the result has {made.width}x{made.height} pixels, not the shape of its input {kind} of"
            f" {size.width}x{size.height}; send a size to get another one"
        )


def warn_of_aspect_ratio(params: Mapping[str, Any], asked: Fraction | None) -> Iterator[str]:
    """Yield that a result does not have the aspect ratio that the request asks for."""
    width, height = params.get("width"), params.get("height")
    if asked is None or not width or not height:
        return
    made = Size(width, height)
    if not _is_near(made, asked, ASKED_TOLERANCE):
        yield (
            f"the result has {made.width}x{made.height} pixels, not the aspect ratio"
            f" {asked.numerator}:{asked.denominator}, which the model does not make at this size"
        )


def _is_near(made: Size, shape: Fraction, tolerance: float) -> bool:
    return abs(math.log(made.width / made.height / shape)) <= tolerance

"""The size of an output that follows an input image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from fractions import Fraction
from typing import Any

from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.canvases import check_size_fields, has_canvas, has_margins, margins_of
from orchestrator.catalog.parameters.output_sizes import OutputSizes
from orchestrator.catalog.parameters.size_text import Size, scale_to_megapixels
from orchestrator.catalog.parameters.values import IntegerParameter


class FollowImage(Enum):
    """How the size of the output follows the first input image if the request sets none."""

    #: The shape of the image: for videos with as many pixels as the model's default size, else at most.
    SHAPE = "shape"
    #: The size of the image, as far as the model supports it.
    SIZE = "size"


def size_params_for_image(
    model: Model, given: Mapping[str, Any], image_size: Size, follow: FollowImage = FollowImage.SHAPE
) -> dict[str, int]:
    """Return the `width` and `height` that follow the input image; {} if they do not.

    `given` are the parameters that the request sets. The first image decides, be it the one to change or a
    reference. Raises InvalidRequest if the parameters contradict each other.
    """
    check_size_fields(model, given)
    sizes = model.output_sizes
    sides = {name: given[name] for name in ("width", "height") if given.get(name) is not None}
    if sizes is None or len(sides) == 2:
        return {}
    if sides:
        return _complete_side(sizes, sides, image_size)
    if given.get("megapixels"):
        return _scale(model, sizes, image_size, given["megapixels"])
    if has_margins(model):
        left, top, right, bottom = margins_of(model, given)
        return Size(left + image_size.width + right, top + image_size.height + bottom).to_params()
    if model.makes_video:
        shape = Fraction(*image_size)
        found = sizes.fit_exact_ratio(shape, sizes.default_area(shape), on_grid=True)
        return found.to_params() if found else {}
    limit = sizes.max_pixels if follow is FollowImage.SIZE or has_canvas(model) else sizes.default_size.area
    near = sizes.fit_size(*_shrink(image_size, sizes, limit))
    if near.area >= image_size.area:
        return near.to_params()
    return sizes.prefer_exact(Fraction(*image_size), near, min(limit, image_size.area)).to_params()


def reshape_for_image(model: Model, image_size: Size, max_pixels: float) -> dict[str, int]:
    """Return the `width` and `height` of an output with the image's shape and at most so many pixels.

    Returns {} if the input decides on the size of the output.
    """
    sizes = model.output_sizes
    if sizes is None:
        return {}
    area = min(max_pixels, sizes.max_pixels)
    found = sizes.fit_exact_ratio(Fraction(*image_size), area, on_grid=model.makes_video)
    return found.to_params() if found else {}


def _scale(model: Model, sizes: OutputSizes, image_size: Size, megapixels: float) -> dict[str, int]:
    """Return the size with that many megapixels: of exactly the image's shape, or up to a pixel.

    The graph of a model without a canvas scales the image itself.
    """
    if not has_canvas(model):
        return scale_to_megapixels(image_size, megapixels).to_params()
    area = megapixels * 1024 * 1024
    largest = min(sizes.width.maximum / image_size.width, sizes.height.maximum / image_size.height)
    factor = min(math.sqrt(area / image_size.area), largest)
    near = sizes.fit_size(*(round(side * factor) for side in image_size))
    return sizes.prefer_exact(Fraction(*image_size), near, area).to_params()


def _complete_side(sizes: OutputSizes, sides: Mapping[str, int], image_size: Size) -> dict[str, int]:
    """Return both sides if the request sets one: the other one follows the image's shape."""
    ratio = image_size.width / image_size.height
    if "width" in sides:
        height = _nearest(sizes.height, sides["width"] / ratio)
        return {"width": sides["width"], "height": height}
    return {"width": _nearest(sizes.width, sides["height"] * ratio), "height": sides["height"]}


def _nearest(spec: IntegerParameter, wanted: float) -> int:
    return min(spec.nearest_allowed(round(wanted)), key=lambda side: abs(side - wanted))


def _shrink(size: Size, sizes: OutputSizes, max_area: float) -> Size:
    """Return the size, scaled down to the largest area and sides, or up to the smallest sides."""
    largest = (sizes.width.maximum / size.width, sizes.height.maximum / size.height)
    smallest = (sizes.width.minimum / size.width, sizes.height.minimum / size.height)
    factor = max(*smallest, min(1.0, math.sqrt(max_area / size.area), *largest))
    if factor == 1.0:
        return size
    # Models are at their best with multiples of this number of pixels.
    step = math.lcm(8, sizes.width.step)
    return Size(*(max(1, round(side * factor / step)) * step for side in size))

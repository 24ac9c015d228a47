"""How the input image of a model becomes the canvas of its output.

The output of such a model is the input image with changes: inside a mask, beyond its margins, or its
background. So the image is scaled and padded to the requested size before the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.files import ImageParameter
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.errors import InvalidRequest

#: Parameters of a model that continues an image beyond its edges: pixels to add at each side.
MARGINS = ("left", "top", "right", "bottom")
#: VAEs encode blocks of this many pixels, and margins are multiples of it.
_BLOCK = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class CanvasPlan:
    """The sizes of an input image on its canvas."""

    #: Size to which the image is scaled.
    image: Size
    #: Size to which it is padded.
    canvas: Size
    #: Size that the graph makes, of which the canvas is cut out.
    made: Size
    #: Margins that lead to the requested size.
    margins: Mapping[str, int] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, int | None]:
        """The parameters of the model after this: the image has its megapixels already."""
        return {**self.margins, "megapixels": None}


def has_canvas(model: Model) -> bool:
    """Return whether the output is the input image itself, with the same pixels where nothing is changed."""
    spec = model.parameters.get("image")
    return isinstance(spec, ImageParameter) and spec.canvas


def has_margins(model: Model) -> bool:
    """Return whether the model continues the input image beyond its edges."""
    return has_canvas(model) and set(MARGINS) <= model.parameters.keys()


def margins_of(model: Model, params: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Return the margins in the order of MARGINS."""
    defaults = model.example_params()
    left, top, right, bottom = (
        defaults[name] if params.get(name) is None else params[name] for name in MARGINS
    )
    return left, top, right, bottom


def check_size_fields(model: Model, given: Mapping[str, Any]) -> None:
    """Raise InvalidRequest (`conflicting_fields`) if a request sets the size of the output twice."""
    if given.get("width") is None and given.get("height") is None:
        return
    others = ("megapixels", *(MARGINS if has_margins(model) else ()))
    for name in others:
        if given.get(name) is not None and name in model.parameters:
            raise InvalidRequest(
                f"`{name}` and `size` both set the size of the result; send one of them",
                code="conflicting_fields",
                param=name,
            )


def plan_canvas(
    model: Model, given: Mapping[str, Any], params: Mapping[str, Any], image_size: Size
) -> CanvasPlan | None:
    """Return how the image is placed for an output of the `width` and `height` in `params`.

    `given` are the parameters that the request sets. Returns None if the graph takes the image as it is.
    """
    sizes = model.output_sizes
    if not has_canvas(model) or sizes is None:
        return None
    size = Size(params["width"], params["height"])
    if not has_margins(model):
        image = _fit_inside(image_size, size)
        is_same_shape = size.width - image.width <= 1 and size.height - image.height <= 1
        image = size if is_same_shape else image
        return CanvasPlan(image=image, canvas=size, made=sizes.made_size(size))
    if given.get("width") is None and given.get("height") is None:
        made = Size(*(-(-side // _BLOCK) * _BLOCK for side in image_size))
        return CanvasPlan(image=image_size, canvas=image_size, made=made)
    inner = _fit_inside(image_size, size, grow=False)
    across, down = (_place_side(side, outer) for side, outer in zip(inner, size, strict=True))
    return CanvasPlan(
        image=Size(across.image, down.image),
        canvas=Size(across.image, down.image),
        made=Size(across.made, down.made),
        margins=dict(zip(MARGINS, (across.before, down.before, across.after, down.after), strict=True)),
    )


@dataclass(frozen=True, slots=True)
class _Side:
    """The pixels of one side of an image between its margins."""

    image: int
    #: With a border that is cut off again.
    made: int
    before: int
    after: int


def _place_side(image: int, size: int) -> _Side:
    """Return how the side of an image is placed in the middle of a size.

    The graph makes the size in whole blocks, of which the middle is cut out; no row of the image is lost.
    """
    made = -(-size // _BLOCK) * _BLOCK
    if size - image < _BLOCK:
        return _Side(size, made, 0, 0)
    image = max(_BLOCK, image // _BLOCK * _BLOCK)
    before = (made - image) // 2 // _BLOCK * _BLOCK
    return _Side(image, image, before, made - image - before)


def _fit_inside(size: Size, outer: Size, *, grow: bool = True) -> Size:
    """Return the size, scaled so that it fits into another one and keeps its shape."""
    factor = min(outer.width / size.width, outer.height / size.height)
    factor = factor if grow else min(1.0, factor)
    return Size(
        min(outer.width, max(1, round(size.width * factor))),
        min(outer.height, max(1, round(size.height * factor))),
    )

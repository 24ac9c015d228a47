"""Image sizes: parse `WIDTHxHEIGHT`, and scale to megapixels."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from orchestrator.errors import invalid_field

# Five digits exceed the size of any model, and keep hostile input from becoming a huge integer.
_SIZE_PATTERN = re.compile(r"([0-9]{1,5}) ?[xX*\u00d7] ?([0-9]{1,5})", re.ASCII)


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def area(self) -> int:
        """The number of pixels."""
        return self.width * self.height

    def to_params(self) -> dict[str, int]:
        """Return the parameters `width` and `height`."""
        return self._asdict()


def parse_size(text: object, *, param: str = "size") -> Size:
    """Parse `WIDTHxHEIGHT` in pixels. Raises InvalidRequest (`invalid_PARAM`)."""
    match = _SIZE_PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise invalid_field(param, f"must be WIDTHxHEIGHT, for example 1024x1024 (got {str(text)[:40]!r})")
    return Size(int(match[1]), int(match[2]))


def scale_to_megapixels(size: tuple[int, int], megapixels: float, step: int = 16) -> Size:
    """Return the size to which ComfyUI's `ImageScaleToTotalPixels` scales an image."""
    factor = math.sqrt(megapixels * 1024 * 1024 / (size[0] * size[1]))
    width, height = (max(1, round(side * factor / step)) * step for side in size)
    return Size(width, height)

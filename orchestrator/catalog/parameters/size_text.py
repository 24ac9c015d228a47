"""Picture sizes: as callers write them, and as graphs make them."""

from __future__ import annotations

import math
import re

from orchestrator.errors import InvalidRequest

# Five digits are more than any model makes, and keep a hostile number from becoming a huge integer.
_SIZE_PATTERN = re.compile(r"([0-9]{1,5})x([0-9]{1,5})", re.ASCII)


def parse_size(text: object, *, param: str = "size") -> tuple[int, int]:
    """Width and height in pixels of `WIDTHxHEIGHT`. Raises InvalidRequest (`invalid_size`)."""
    match = _SIZE_PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidRequest(
            f"`{param}` must be WIDTHxHEIGHT, for example 1024x1024", code=f"invalid_{param}", param=param
        )
    return int(match[1]), int(match[2])


def scale_to_megapixels(size: tuple[int, int], megapixels: float, step: int = 16) -> tuple[int, int]:
    """What ComfyUI's `ImageScaleToTotalPixels` makes of a picture's width and height."""
    factor = math.sqrt(megapixels * 1024 * 1024 / (size[0] * size[1]))
    width, height = (max(1, round(side * factor / step)) * step for side in size)
    return width, height

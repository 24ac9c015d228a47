"""Picture sizes as callers write them."""

from __future__ import annotations

import re

from orchestrator.errors import InvalidRequest

# Five digits are more than any model makes, and keep a hostile number from becoming a huge integer.
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})", re.ASCII)


def parse_size(text: object, *, param: str = "size") -> tuple[int, int]:
    """Width and height in pixels of `WIDTHxHEIGHT`. Raises InvalidRequest (`invalid_size`)."""
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidRequest(
            f"`{param}` must be WIDTHxHEIGHT, for example 1024x1024", code=f"invalid_{param}", param=param
        )
    return int(match[1]), int(match[2])

"""What a mask must be to its picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import InvalidRequest
from orchestrator.media.input_images import InputImage

#: Parameter that says which part of a mask counts, and its value for transparency.
CHANNEL, ALPHA = "mask_channel", "alpha"


def check_mask(picture: InputImage | None, mask: InputImage | None, params: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for a mask that does not lie over its picture, or has nothing to say."""
    if picture is None or mask is None:
        return
    if (mask.width, mask.height) != (picture.width, picture.height):
        raise _refusal(f"must be as large as `image`: {picture.width}x{picture.height} pixels")
    if params.get(CHANNEL, ALPHA) == ALPHA and not mask.has_alpha:
        raise _refusal("must have transparent parts: they are what is replaced")


def _refusal(reason: str) -> InvalidRequest:
    return InvalidRequest(f"`mask` {reason}", code="invalid_mask", param="mask")

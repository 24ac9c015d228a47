"""What a mask must be to its picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import InvalidRequest
from orchestrator.media.input_images import InputImage

#: Parameter that says which part of a mask counts, and its value for transparency.
MASK_CHANNEL_PARAM, ALPHA_CHANNEL = "mask_channel", "alpha"


def check_mask(image: InputImage | None, mask: InputImage | None, params: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for a mask that does not lie over its picture, or has nothing to say."""
    if image is None or mask is None:
        return
    if (mask.width, mask.height) != (image.width, image.height):
        raise _invalid_mask(f"must be as large as `image`: {image.width}x{image.height} pixels")
    if params.get(MASK_CHANNEL_PARAM, ALPHA_CHANNEL) == ALPHA_CHANNEL and not mask.has_alpha:
        raise _invalid_mask("must have transparent parts: they are what is replaced")


def _invalid_mask(reason: str) -> InvalidRequest:
    return InvalidRequest(f"`mask` {reason}", code="invalid_mask", param="mask")

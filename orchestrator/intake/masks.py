"""Checks masks against the image that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import invalid_field
from orchestrator.media.input_images import InputImage

#: Name of the parameter that selects the channel of the mask, and its value for the alpha channel.
MASK_CHANNEL_PARAM, ALPHA_CHANNEL = "mask_channel", "alpha"


def check_mask(image: InputImage | None, mask: InputImage | None, params: Mapping[str, Any]) -> None:
    """Check the size of a mask, and that it marks an area. Raises InvalidRequest."""
    if image is None or mask is None:
        return
    if (mask.width, mask.height) != (image.width, image.height):
        sizes = f"{image.width}x{image.height} pixels (got {mask.width}x{mask.height})"
        raise invalid_field("mask", f"must be as large as `image`: {sizes}")
    if params.get(MASK_CHANNEL_PARAM, ALPHA_CHANNEL) == ALPHA_CHANNEL and not mask.has_alpha:
        raise invalid_field("mask", "must contain transparent pixels; they mark the area to edit")

"""The format that a request asks its images in: refused before it costs anything if it cannot hold them."""

from __future__ import annotations

from orchestrator.catalog import Model
from orchestrator.errors import invalid_field
from orchestrator.media.formats import ANIMATION_TYPES, ImageEncoding

#: ComfyUI's nodes whose images have several frames.
ANIMATION_NODES = frozenset({"SaveAnimatedWEBP", "SaveAnimatedPNG"})


def check_image_format(model: Model, encoding: ImageEncoding | None) -> None:
    """Raise InvalidRequest if the model makes animations and the format holds one frame."""
    if encoding is None or encoding.content_type in ANIMATION_TYPES:
        return
    nodes = model.source.template
    if any(nodes[output.node].get("class_type") in ANIMATION_NODES for output in model.outputs):
        given = encoding.content_type.removeprefix("image/")
        raise invalid_field(
            "output_format",
            f"must be webp or png for {model.id}, whose images have several frames (got {given!r})",
        )

"""The format that a request asks its images in: refused before it costs anything if it cannot hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.catalog import Model
from orchestrator.catalog.rendering.graph import parse_link
from orchestrator.errors import invalid_field
from orchestrator.intake.transparency import keeps_transparency
from orchestrator.media.formats import ANIMATION_TYPES, ImageEncoding

#: ComfyUI's nodes whose images have several frames. Those of node packs have one of these inputs.
ANIMATION_NODES = frozenset({"SaveAnimatedWEBP", "SaveAnimatedPNG"})
ANIMATION_INPUTS = frozenset({"fps", "frame_rate", "framerate"})
#: ComfyUI's node whose images have one frame each. Those of node packs may save anything.
STILL_NODES = frozenset({"SaveImage"})
#: Nodes whose images have transparent pixels.
TRANSPARENCY_NODES = frozenset({"JoinImageWithAlpha"})
TRANSPARENT = "transparent"


def check_image_format(model: Model, encoding: ImageEncoding | None, background: object = None) -> None:
    """Raise InvalidRequest if the format cannot hold the frames or the transparency of the model's images.

    `background` is the value of the request's field of that name.
    """
    if encoding is None:
        return
    given = encoding.content_type.removeprefix("image/")
    nodes = [model.source.template[output.node] for output in model.outputs if output.media == "image"]
    if encoding.content_type not in ANIMATION_TYPES and any(map(_is_animated, nodes)):
        raise invalid_field(
            "output_format",
            f"must be webp or png for {model.id}, whose images have several frames (got {given!r})",
        )
    if encoding.content_type != "image/jpeg":
        return
    spec = model.parameters.get("background")
    if spec is not None and (background or getattr(spec, "default", None)) == TRANSPARENT:
        raise invalid_field(
            "output_format",
            f"must be png or webp for a transparent background (got {given!r}); or send `background` opaque",
        )
    if spec is None and not keeps_transparency(model) and any(_is_transparent(model, node) for node in nodes):
        raise invalid_field(
            "output_format",
            f"must be png or webp for {model.id}, whose images have transparent pixels (got {given!r})",
        )


def format_for_run(model: Model, encoding: ImageEncoding | None) -> ImageEncoding | None:
    """Return the format to store the images in if only the run shows whether it holds them, else None.

    A result that it does not hold, or that has too many frames to be converted, then fails the job, which is
    not charged, instead of the delivery of a job that was.
    """
    nodes = (model.source.template[output.node] for output in model.outputs if output.media == "image")
    is_known = all(node.get("class_type") in STILL_NODES for node in nodes)
    if encoding is None or is_known:
        return None
    return replace(encoding, quality=encoding.quality or encoding.default_quality)


def _is_animated(node: Mapping[str, Any]) -> bool:
    return node.get("class_type") in ANIMATION_NODES or bool(ANIMATION_INPUTS & node["inputs"].keys())


def _is_transparent(model: Model, node: Mapping[str, Any]) -> bool:
    links = (parse_link(value) for value in node["inputs"].values())
    sources = (model.source.template.get(link.node, {}) for link in links if link is not None)
    return any(source.get("class_type") in TRANSPARENCY_NODES for source in sources)

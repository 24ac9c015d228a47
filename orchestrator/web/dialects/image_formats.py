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
    template = model.source.template
    nodes = _image_nodes(model, template)
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
    is_transparent = any(_is_transparent(template, node) for node in nodes)
    if spec is None and is_transparent and not keeps_transparency(model):
        raise invalid_field(
            "output_format",
            f"must be png or webp for {model.id}, whose images have transparent pixels (got {given!r})",
        )


def format_for_run(model: Model, encoding: ImageEncoding | None) -> ImageEncoding | None:
    """Return the format to store the images in if only the run shows whether it holds them, else None.

    A result that it does not hold, or that has too many frames to be converted, then fails the job, which is
    not charged, instead of the delivery of a job that was.
    """
    if encoding is None:
        return None
    nodes = _image_nodes(model, model.source.template)
    if all(node.get("class_type") in STILL_NODES for node in nodes):
        return None
    return replace(encoding, quality=encoding.quality or encoding.default_quality)


def _image_nodes(model: Model, template: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the nodes of a model's graph whose outputs are images."""
    return [template[output.node] for output in model.outputs if output.media == "image"]


def _is_animated(node: Mapping[str, Any]) -> bool:
    return node.get("class_type") in ANIMATION_NODES or bool(ANIMATION_INPUTS & node["inputs"].keys())


def _is_transparent(template: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    links = (parse_link(value) for value in node["inputs"].values())
    sources = (template.get(link.node, {}) for link in links if link is not None)
    return any(source.get("class_type") in TRANSPARENCY_NODES for source in sources)

"""Whether the transparency of an input image has an effect, and what a request says of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from orchestrator.catalog import Model
from orchestrator.catalog.checks.effects import UsedInputs, used_inputs_of_request
from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.manifest import TRANSPARENT_PARAM
from orchestrator.catalog.rendering.graph import parse_link

#: Loads a mask, whose channel is the node's only output.
_MASK_LOADER = "LoadImageMask"

#: Adds an alpha channel to an image.
_ALPHA_JOINER = "JoinImageWithAlpha"

#: A parameter and the place of one of its images, which is 0 where the parameter has one image.
ImagePlace = tuple[str, int]


def warn_of_transparency(
    model: Model, params: Mapping[str, Any], transparent: Collection[ImagePlace]
) -> Iterator[str]:
    """Yield a sentence for each parameter with transparent images whose transparency changes nothing.

    `params` are the validated parameters, with keys instead of files.
    """
    if not transparent:
        return
    try:
        used = used_inputs_of_request(model, params)
    except CatalogError:
        return  # the run reports it
    ignored = (name for name, place in transparent if _ignores_alpha(used, _file_at(params[name], place)))
    for name in dict.fromkeys(ignored):
        yield f"the transparency of `{name}` has no effect: {model.id} uses the colours of its pixels only"


def warn_of_lost_transparency(
    model: Model, content_type: str | None, transparent: Collection[ImagePlace]
) -> Iterator[str]:
    """Yield a sentence if the result would have the transparency of an input image, but for its format."""
    if content_type == "image/jpeg" and keeps_transparency(model):
        for name in dict.fromkeys(name for name, _ in transparent):
            yield f"the transparency of `{name}` becomes white: a JPEG has none; ask for png or webp"


def keeps_transparency(model: Model) -> bool:
    """Return whether an output has the transparency of an input image, and none of its own."""
    template = model.source.template
    savers = (template[output.node] for output in model.outputs)
    sources = (_linked(template, value) for saver in savers for value in saver["inputs"].values())
    joiners = (node for node in sources if node.get("class_type") == _ALPHA_JOINER)
    alphas = (_linked(template, node["inputs"].get("alpha")) for node in joiners)
    return any(str(node.get("class_type", "")).startswith("LoadImage") for node in alphas)


def _linked(template: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
    """Return the node to which an input is linked; an empty one if it is not linked."""
    link = parse_link(value)
    node: Mapping[str, Any] = template.get(link.node, {}) if link else {}
    return node


def transparency_params(model: Model, transparent: Collection[ImagePlace]) -> dict[str, list[str]]:
    """Return the parameter that tells the graph which of its images are transparent, if it asks for that."""
    names = [*dict.fromkeys(name for name, _ in transparent)]
    return {TRANSPARENT_PARAM: names} if names and "transparent_inputs" in model.source.graph else {}


def _file_at(value: Any, place: int) -> Any:
    return value[place] if isinstance(value, list | tuple) else value


def _ignores_alpha(used: UsedInputs, file: Any) -> bool:
    """Return whether the outputs depend on the colours of an image file and not on its alpha channel.

    The first output of nodes that load an image has the colours, the second one the alpha channel.
    """
    loaders = {
        id
        for id, inputs in used.items()
        if inputs[""] != _MASK_LOADER and any(value == file for name, value in inputs.items() if name)
    }
    links = (parse_link(value) for inputs in used.values() for value in inputs.values())
    return bool(loaders) and not any(link and link.node in loaders and link.slot > 0 for link in links)

"""Which parameters of a model may ask for less than its graph makes, because the outputs are cut to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.catalog.manifest import ModelManifest
from orchestrator.catalog.parameters.output_sizes import OutputSizes
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.catalog.rendering.graph import GraphNode
from orchestrator.catalog.rendering.output_cut import OutputCut, image_links

CUT_PARAMETERS = ("width", "height", "num_frames")


def cuttable_outputs(manifest: ModelManifest) -> list[str]:
    """Return the nodes that save images and videos."""
    return [output.node for output in manifest.outputs if output.media in ("image", "video")]


def reject_what_cannot_be_cut(manifest: ModelManifest, nodes: Mapping[str, GraphNode]) -> ModelManifest:
    """Return the manifest with `off_grid = "reject"` for the parameters to which outputs cannot be cut.

    These are all but sizes and lengths, and all of a graph whose images reach the output in a way that
    `OutputCut` does not know, or that enlarges them.
    """
    view = {id: {"inputs": node.inputs} for id, node in nodes.items()}
    outputs = cuttable_outputs(manifest)
    has_images = bool(outputs) and all(any(image_links(view, [output])) for output in outputs)
    can_be_cut = CUT_PARAMETERS if has_images and manifest.scale is None else ()
    parameters = {
        name: spec.model_copy(update={"off_grid": "reject"})
        if isinstance(spec, IntegerParameter) and name not in can_be_cut
        else spec
        for name, spec in manifest.parameters.items()
    }
    return manifest.model_copy(update={"parameters": parameters})


def find_cut(manifest: ModelManifest, params: Mapping[str, Any]) -> OutputCut:
    """Return what is cut off from the outputs of the graph for requested parameters."""
    sizes = OutputSizes.from_manifest(manifest)
    width, height, frames = (params.get(name) for name in CUT_PARAMETERS)
    size = Size(width, height) if sizes and width and height else None
    spec = manifest.parameters.get("num_frames")
    is_longer = (
        frames is not None and isinstance(spec, IntegerParameter) and spec.round_up_to_grid(frames) > frames
    )
    return OutputCut(
        made=sizes.made_size(size) if sizes and size else None,
        size=size,
        frames=frames if is_longer else None,
    )

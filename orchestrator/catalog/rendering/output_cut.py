"""Cut the outputs of a graph to the requested size and length.

Many models make sizes and lengths on a grid only, such as multiples of 16 pixels or 4k + 1 frames. Their
graphs make the next larger ones. `OutputCut` inserts two nodes of ComfyUI's core between the generation and
the saving: `ImageFromBatch` cuts off the last frames, `ImageCrop` the edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.rendering.graph import ApiGraph, ApiGraphView, Link, parse_link

#: Names of inputs that carry images in saving and video nodes, and of inputs that carry a video.
_IMAGE_INPUTS = frozenset({"images", "image", "frames"})
_VIDEO_INPUTS = frozenset({"video"})


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputCut:
    """What is cut off from all outputs of a graph."""

    #: The size that the graph makes, and the requested one.
    made: Size | None = None
    size: Size | None = None
    #: The requested number of frames; None if the graph makes just as many.
    frames: int | None = None

    def apply(self, graph: ApiGraph, outputs: Sequence[str]) -> ApiGraph:
        """Return the graph with the nodes that cut; the same graph if there is nothing to cut."""
        crop = self._crop_inputs()
        if crop is None and self.frames is None:
            return graph
        cut = dict(graph)
        for consumer, name, link in image_links(graph, outputs):
            source = link
            if self.frames is not None:
                inputs = {"image": list(source), "batch_index": 0, "length": self.frames}
                source = _add_node(cut, "cut", link, "ImageFromBatch", inputs)
            if crop is not None:
                source = _add_node(cut, "crop", link, "ImageCrop", {"image": list(source), **crop})
            # Other nodes stay the same objects.
            cut[consumer] = {
                **cut[consumer],
                "inputs": {**cut[consumer]["inputs"], name: list(source)},
            }
        return cut

    def _crop_inputs(self) -> dict[str, int] | None:
        """Return where `ImageCrop` cuts: around the centre; None if the size needs no cut."""
        if self.size is None or self.made is None or self.size == self.made:
            return None
        x, y = (self.made.width - self.size.width) // 2, (self.made.height - self.size.height) // 2
        return {"width": self.size.width, "height": self.size.height, "x": x, "y": y}


def image_links(graph: ApiGraphView, outputs: Sequence[str]) -> Iterator[tuple[str, str, Link]]:
    """Yield the node, input and link of the images that reach `outputs`, directly or as a video."""
    waiting, seen = [id for id in outputs if id in graph], set(outputs)
    while waiting:
        consumer = waiting.pop()
        for name, value in graph[consumer]["inputs"].items():
            link = parse_link(value)
            if link is None or link.node not in graph:
                continue
            if name in _IMAGE_INPUTS:
                yield consumer, name, link
            elif name in _VIDEO_INPUTS and link.node not in seen:
                seen.add(link.node)
                waiting.append(link.node)


def _add_node(graph: ApiGraph, prefix: str, source: Link, class_type: str, inputs: Mapping[str, Any]) -> Link:
    """Add a node that cuts the images of `source`, unless it is there, and return its output."""
    id = f"{prefix}-{source.node}-{source.slot}"
    titles = {"cut": "Cut to the requested length", "crop": "Crop to the requested size"}
    graph[id] = {"class_type": class_type, "inputs": dict(inputs), "_meta": {"title": titles[prefix]}}
    return Link(id, 0)

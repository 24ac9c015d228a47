"""Bounds how much a chain of nodes can enlarge its data: doubling forty times fills any memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.catalog.rendering.graph import ApiGraph, parse_link
from orchestrator.own_graphs.parsing import topological_order
from orchestrator.own_graphs.rejections import NodeProblem

#: Classes whose output is as large as all their inputs together.
_JOINS = frozenset({
    "AudioConcat", "AudioMerge", "BatchImagesNode", "BatchLatentsNode", "BatchMasksNode", "ImageBatch",
    "ImageGrid", "ImageStitch", "LatentBatch", "LatentConcat", "MergeImageLists", "MergeTextLists",
    "ConditioningConcat", "ConditioningCombine", "CreateList", "StringConcatenate", "AddTextPrefix",
    "AddTextSuffix", "ReplaceText", "StringReplace", "TextOverlay", "BuildJsonPromptIdeogram",
})  # fmt: skip
#: Inputs whose number multiplies the output, and the power with which it does so.
_FACTORS: Mapping[str, Mapping[str, int]] = {
    "RepeatImageBatch": {"amount": 1},
    "RepeatLatentBatch": {"amount": 1},
    "ImageScaleBy": {"scale_by": 2},
    "LatentUpscaleBy": {"scale_by": 2},
    "FrameInterpolate": {"multiplier": 1},
}
#: Classes that enlarge by a factor that their weights decide.
ENLARGED_BY_WEIGHTS: Mapping[str, float] = {
    "ImageUpscaleWithModel": 16,
    "LTXVLatentUpsampler": 4,
    "HunyuanVideo15LatentUpscaleWithModel": 4,
}
#: A replacement puts a text in place of each occurrence of another one.
_REPLACES = frozenset({"StringReplace", "ReplaceText"})


def find_growth(graph: ApiGraph, most: int) -> Iterator[NodeProblem]:
    """Yield the nodes from which on a chain holds more than `most` times the data of its sources."""
    sizes: dict[str, float] = {}
    for id in topological_order(graph):
        node = graph[id]
        linked = [
            sizes[link.node] for value in node["inputs"].values() if (link := parse_link(value)) is not None
        ]
        sizes[id] = max(1.0, _size(node, linked))
        if sizes[id] > most:
            yield NodeProblem(
                node=id,
                class_type=node["class_type"],
                type="graph_grows_too_much",
                message=f"the chain of nodes up to here enlarges its data {sizes[id]:.3g} times; at most"
                f" {most} times is allowed: repeat, join or enlarge less",
            )
            return


def _size(node: Mapping[str, Any], linked: list[float]) -> float:
    largest = max(linked, default=1.0)
    class_type = node["class_type"]
    if class_type in _REPLACES:
        product = 1.0
        for size in linked:
            product *= size
        return max(product, sum(linked)) * (4.0 if linked else 1.0)
    if class_type in _JOINS:
        return max(sum(linked), 1.0)
    factor = ENLARGED_BY_WEIGHTS.get(class_type, 1.0)
    for name, power in _FACTORS.get(class_type, {}).items():
        factor *= max(1.0, _number(node["inputs"].get(name))) ** power
    return largest * factor


def _number(value: Any) -> float:
    """Return the value of a literal; a linked one is bounded elsewhere, and counts as the largest."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return 8.0

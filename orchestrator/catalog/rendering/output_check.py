"""Insert output checks into a graph: an image classifier between generation and saving.

The check node is part of the pack `custom_nodes/pixel_factory` (`check.py`). Instances without it, or without
the classifier, cannot run checked graphs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.catalog.checks.node_facts import ANY_TYPE, NodeFacts, resolve_inputs
from orchestrator.catalog.rendering.graph import ApiGraph, Link, iter_links

OUTPUT_CHECK_CLASS = "PixelFactoryOutputCheck"
#: Types that contain images, or may: the check is inserted upstream of the nodes that create them.
IMAGE_CARRIER_TYPES = frozenset({"VIDEO", ANY_TYPE, "COMFY_MATCHTYPE_V3"})


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputCheck:
    """The classifier, and the labels that it rejects."""

    #: Weight file in `models/classifiers/`.
    classifier: str
    #: Rejected labels, separated by commas.
    labels: str
    #: Minimum probability of a rejected label.
    threshold: float

    def insert_checks(self, graph: ApiGraph, outputs: Sequence[str], facts: NodeFacts) -> ApiGraph:
        """Return the graph with a check on every image and video frame that reaches one of the `outputs`.

        Inputs of node classes that `facts` does not have are not recognized as images.
        """
        guarded = {id: {**node, "inputs": dict(node["inputs"])} for id, node in graph.items()}
        for consumer, name, link in _image_links_to_outputs(graph, outputs, facts):
            source, slot = link
            check = f"check-{source}-{slot}"
            guarded[consumer]["inputs"][name] = [check, 0]
            guarded[check] = {
                "class_type": OUTPUT_CHECK_CLASS,
                "inputs": {
                    "images": [source, slot],
                    "classifier": self.classifier,
                    "labels": self.labels,
                    "threshold": self.threshold,
                },
            }
        return guarded


def _image_links_to_outputs(
    graph: ApiGraph, outputs: Sequence[str], facts: NodeFacts
) -> Iterator[tuple[str, str, Link]]:
    """Yield the node, input and link of every image, as far downstream as it still is an image."""
    waiting, seen = list(outputs), set(outputs)
    while waiting:
        consumer = waiting.pop()
        node = graph[consumer]
        inputs = resolve_inputs(facts.get(node["class_type"], {"input": {}}), node["inputs"])
        for name, link in iter_links(node["inputs"]):
            kinds = set(inputs[name].type.split(",")) if name in inputs else set()
            if "IMAGE" in kinds and graph[link[0]]["class_type"] != OUTPUT_CHECK_CLASS:
                yield consumer, name, link
            elif kinds & IMAGE_CARRIER_TYPES and link[0] not in seen:
                seen.add(link[0])
                waiting.append(link[0])

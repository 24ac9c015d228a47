"""Puts a check between what a graph makes and what saves it, so that nothing leaves unseen.

The node is of our own pack (`custom_nodes/pixel_factory/check.py`); an instance without it, or without the
classifier, can not serve a graph that is to be checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.catalog.checks.node_facts import ANY_TYPE, NodeFacts, resolve_inputs
from orchestrator.catalog.rendering.graph import Link, iter_links
from orchestrator.catalog.rendering.render import Graph

OUTPUT_CHECK_CLASS = "PixelFactoryOutputCheck"
#: Types of what carries pictures inside of it, or may: the check belongs before whatever makes those.
IMAGE_CARRIER_TYPES = frozenset({"VIDEO", ANY_TYPE, "COMFY_MATCHTYPE_V3"})


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputCheck:
    """What is refused."""

    #: Weight file below `models/classifiers/`.
    classifier: str
    #: Its labels that are refused, with commas between them.
    labels: str
    #: Probability from which on they are.
    threshold: float

    def insert_checks(self, graph: Graph, outputs: Sequence[str], facts: NodeFacts) -> Graph:
        """The graph with a check before every picture that reaches one of the `outputs`, films' frames
        included. Of a class that the facts do not know nothing is known to be a picture."""
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
    graph: Graph, outputs: Sequence[str], facts: NodeFacts
) -> Iterator[tuple[str, str, Link]]:
    """Node, input and link of every picture on its way to an output, as late as it is one."""
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

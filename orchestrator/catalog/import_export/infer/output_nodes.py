"""Replace our pack's output nodes by ComfyUI's savers, and read the names of the results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, output_types
from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow
from orchestrator.catalog.manifest import NAME_PATTERN
from orchestrator.catalog.rendering.graph import ApiGraph, parse_link

#: The class of the node in `custom_nodes/pixel_factory`.
OUTPUT_NODE_CLASS = "PixelFactoryOutput"
#: Type of the linked output -> saver, its input, and its further values.
_SAVERS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "IMAGE": ("SaveImage", "images", {}),
    "VIDEO": ("SaveVideo", "video", {"format": "auto", "codec": "auto"}),
    "AUDIO": ("SaveAudio", "audio", {}),
}


def replace_output_nodes(graph: ApiGraph, facts: NodeFacts) -> dict[str, str]:
    """Replace the nodes in `graph`, and return node -> name of its result.

    Raises InvalidWorkflow if a node is not linked, or its name is invalid or used twice.
    """
    names: dict[str, str] = {}
    for id, node in graph.items():
        if node["class_type"] != OUTPUT_NODE_CLASS:
            continue
        name = _read_name(id, node["inputs"].get("name"))
        if name in names.values():
            raise InvalidWorkflow(f"node {id}: another output has the name {name}; choose another one")
        names[id] = name
        class_type, input, values = _choose_saver(graph, id, facts)
        inputs = {input: node["inputs"]["result"], "filename_prefix": name, **values}
        graph[id] = node | {"class_type": class_type, "inputs": inputs, "_meta": {"title": name}}
    return names


def _read_name(id: str, name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        raise InvalidWorkflow(
            f"node {id}: {str(name)[:100]!r} is not a valid name of a result;"
            " use lower-case letters, digits and underscores"
        )
    return name


def _choose_saver(graph: ApiGraph, id: str, facts: NodeFacts) -> tuple[str, str, Mapping[str, Any]]:
    link = parse_link(graph[id]["inputs"].get("result"))
    if link is None:
        raise InvalidWorkflow(f"node {id}: link the input `result` of the output node")
    types = output_types(facts.get(graph[link.node]["class_type"], {})) if link.node in graph else []
    type = types[link.slot] if link.slot < len(types) else "IMAGE"
    if type not in _SAVERS:
        raise InvalidWorkflow(
            f"node {id}: `result` must be linked to one of {', '.join(_SAVERS)} (got {type})"
        )
    return _SAVERS[type]

"""Find the nodes of a graph whose results a model returns: savers, or what shows results if nothing saves."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, declared_inputs, output_types
from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow
from orchestrator.catalog.import_export.ui.ui_to_api import ConvertedWorkflow
from orchestrator.catalog.rendering.graph import ApiGraph, Link, copy_json, iter_links

#: Type of a linked output -> media of the result.
MEDIA_BY_TYPE = {
    "IMAGE": "image",
    "MASK": "image",
    "VIDEO": "video",
    "AUDIO": "audio",
    "MESH": "mesh",
    "FILE_3D": "mesh",
    "STRING": "text",
}
_PREFIX_INPUT = "filename_prefix"
# Preview nodes, and the nodes that save the same data to a file.
_SAVE_CLASS_BY_PREVIEW = {
    "PreviewImage": "SaveImage",
    "PreviewAudio": "SaveAudio",
    "MaskPreview": "SaveImage",
}
#: Type of an output -> class and input of the node that saves it.
_SAVE_CLASS_BY_TYPE = {"IMAGE": ("SaveImage", "images"), "AUDIO": ("SaveAudio", "audio")}
#: Savers that send images through the socket only, where nothing can fetch them later.
_SOCKET_SAVERS = frozenset({"SaveImageWebsocket"})
#: Nodes of ComfyUI that show a text, which is then the result.
_TEXT_SCREENS = frozenset({"PreviewAny"})
_SCREEN_NAME = re.compile(r"preview|compar|show|display|view|debug|print|inspect|monitor", re.IGNORECASE)
_SAVER_NAME = re.compile(r"save|export|write|combine|upload|send|output", re.IGNORECASE)


@dataclass(slots=True)
class ResultNodes:
    """A copy of the graph that saves its results, and the nodes that save them."""

    graph: ApiGraph
    outputs: list[str] = field(default_factory=list)
    #: What the import has left out or replaced.
    changes: list[str] = field(default_factory=list)


def find_result_nodes(
    source: ConvertedWorkflow, facts: NodeFacts, pack_classes: Container[str] = ()
) -> ResultNodes:
    """Return the nodes that save results.

    If no node saves a file, preview nodes are replaced by ones that do, images that other nodes show are
    saved, or texts are the results. Raises
    InvalidWorkflow if there are none either.
    """
    found = ResultNodes(copy_json(source.graph))
    _replace_socket_savers(found)
    ends = _find_ends(found.graph)
    found.outputs = [
        id
        for id, node in found.graph.items()
        if (
            _saves(found.graph, id, facts, pack_classes)
            if node["class_type"] in facts
            else _PREFIX_INPUT in node["inputs"] or (id in ends and _may_save(node, id in source.sinks))
        )
    ]
    if not found.outputs:
        _save_previews(found)
    if not found.outputs:
        _save_shown_images(found, facts, pack_classes)
    if not found.outputs:
        found.outputs = [id for id in found.graph if _shows_text(found.graph, id, facts)]
    if not found.outputs:
        raise InvalidWorkflow(_describe_missing_saver(source, facts))
    _list_left_out(found, source, facts)
    return found


def result_media(graph: ApiGraph, output: str, facts: NodeFacts) -> str:
    """Return the media of the files that a node saves."""
    class_type = str(graph[output]["class_type"])
    if _PREFIX_INPUT not in graph[output]["inputs"] and _shows_text(graph, output, facts):
        return "text"
    if re.search("WEBM|VIDEO", class_type, re.IGNORECASE):
        return "video"
    for type in _linked_types(graph, output, facts):
        media = MEDIA_BY_TYPE.get("FILE_3D" if type.startswith("FILE_3D") else type)
        if media is not None:
            return media
    return "mesh" if "GLB" in class_type.upper() else "image"


def _replace_socket_savers(found: ResultNodes) -> None:
    for id, node in found.graph.items():
        if node["class_type"] in _SOCKET_SAVERS:
            found.changes.append(f"node {id}: SaveImage replaces {node['class_type']}")
            node["class_type"] = "SaveImage"
            node["inputs"][_PREFIX_INPUT] = ""


def _saves(graph: ApiGraph, id: str, facts: NodeFacts, pack_classes: Container[str]) -> bool:
    """Return whether a node of a known class saves a result."""
    class_type = graph[id]["class_type"]
    entry = facts[class_type]
    if not entry.get("output_node"):
        return False
    if any(item.name == _PREFIX_INPUT for item in declared_inputs(entry)):
        return True
    is_screen = _SCREEN_NAME.search(class_type) is not None
    return class_type in pack_classes and not is_screen and _gets_media(graph, id, facts)


def _may_save(node: Mapping[str, Any], is_sink: bool) -> bool:
    """Return whether a node of an unknown class at the end of a graph is likely to save a result."""
    class_type = node["class_type"]
    return bool(_SAVER_NAME.search(class_type)) or (is_sink and not _SCREEN_NAME.search(class_type))


def _gets_media(graph: ApiGraph, id: str, facts: NodeFacts) -> bool:
    return any(type in MEDIA_BY_TYPE or type == "*" for type in _linked_types(graph, id, facts))


def _shows_text(graph: ApiGraph, id: str, facts: NodeFacts) -> bool:
    class_type = graph[id]["class_type"]
    if class_type in _TEXT_SCREENS:
        return any(True for _ in iter_links(graph[id]["inputs"]))
    is_screen = bool(facts.get(class_type, {}).get("output_node")) and _SCREEN_NAME.search(class_type)
    return bool(is_screen) and "STRING" in _linked_types(graph, id, facts)


def _linked_types(graph: ApiGraph, id: str, facts: NodeFacts) -> list[str]:
    """Return the types of the outputs that a node is linked to."""
    return [
        _output_type(graph, link, facts) for _, link in iter_links(graph[id]["inputs"]) if link.node in graph
    ]


def _output_type(graph: ApiGraph, link: Link, facts: NodeFacts) -> str:
    types = output_types(facts.get(graph[link.node]["class_type"], {}))
    return types[link.slot] if link.slot < len(types) else "*"


def _find_ends(graph: ApiGraph) -> set[str]:
    """Return the nodes with links to others that no node is linked to."""
    links = {id: [link.node for _, link in iter_links(node["inputs"])] for id, node in graph.items()}
    consumed = {source for sources in links.values() for source in sources}
    return {id for id, sources in links.items() if sources and id not in consumed}


def _save_previews(found: ResultNodes) -> None:
    for id, node in list(found.graph.items()):
        if node["class_type"] not in _SAVE_CLASS_BY_PREVIEW:
            continue
        if "mask" in node["inputs"]:
            shown = {"mask": node["inputs"].pop("mask")}
            found.graph[f"{id}:image"] = {"class_type": "MaskToImage", "inputs": shown, "_meta": {}}
            node["inputs"]["images"] = [f"{id}:image", 0]
        node["class_type"] = _SAVE_CLASS_BY_PREVIEW[node["class_type"]]
        node["inputs"][_PREFIX_INPUT] = ""
        found.outputs.append(id)


def _save_shown_images(found: ResultNodes, facts: NodeFacts, pack_classes: Container[str]) -> None:
    """Save what output nodes of packs show: the images that they make, else those that they get."""
    screens = [
        id
        for id, node in found.graph.items()
        if node["class_type"] in pack_classes and facts.get(node["class_type"], {}).get("output_node")
    ]
    made = [Link(id, slot) for id in screens for slot in _made_slots(found.graph, id, facts)[:1]]
    used = {link for node in found.graph.values() for _, link in iter_links(node["inputs"])}
    # Of several in a row, the last one has the result.
    shown = [link for link in made if link not in used] or made
    if not shown:
        links = (link for id in screens for _, link in iter_links(found.graph[id]["inputs"]))
        shown = [link for link in links if link.node in found.graph]
        shown = [link for link in shown if _output_type(found.graph, link, facts) in _SAVE_CLASS_BY_TYPE]
    for link in dict.fromkeys(shown):
        type = _output_type(found.graph, link, facts)
        class_type, input_name = _SAVE_CLASS_BY_TYPE[type]
        id = f"{link.node}:{link.slot}:save"
        inputs = {input_name: [link.node, link.slot], _PREFIX_INPUT: ""}
        found.graph[id] = {"class_type": class_type, "inputs": inputs, "_meta": {}}
        found.outputs.append(id)
        maker = found.graph[link.node]["class_type"]
        found.changes.append(f"node {link.node}: {class_type} is added, which saves what {maker} gives")


def _made_slots(graph: ApiGraph, id: str, facts: NodeFacts) -> list[int]:
    types = output_types(facts[graph[id]["class_type"]])
    return [slot for slot, type in enumerate(types) if type in _SAVE_CLASS_BY_TYPE]


def _list_left_out(found: ResultNodes, source: ConvertedWorkflow, facts: NodeFacts) -> None:
    """List the nodes that show or save something that the model does not return."""
    ends, outputs = _find_ends(found.graph), set(found.outputs)
    shown = [
        id
        for id, node in found.graph.items()
        if id not in outputs and _shows_result(node["class_type"], facts, id in ends)
    ]
    for id in shown:
        class_type = found.graph[id]["class_type"]
        if class_type in facts:
            found.changes.append(f"node {id}: {class_type} is left out; what it gets is not saved")
        else:
            found.changes.append(
                f"node {id}: {class_type} is left out; its class is unknown, and may save something"
            )
    for id, class_type in source.inactive_sinks.items():
        found.changes.append(f"node {id}: {class_type} is muted or bypassed, and left out")


def _shows_result(class_type: str, facts: NodeFacts, is_end: bool) -> bool:
    """Return whether a node is an output node, or one of an unknown class whose outputs are not used."""
    entry: Mapping[str, Any] | None = facts.get(class_type)
    return is_end if entry is None else bool(entry.get("output_node"))


def _describe_missing_saver(source: ConvertedWorkflow, facts: NodeFacts) -> str:
    unknown = [
        describe_class(node["class_type"], source.unknown_classes.get(node["class_type"], ""))
        for node in source.graph.values()
        if node["class_type"] not in facts
    ]
    muted = [f"{class_type} of node {id}" for id, class_type in source.inactive_sinks.items()]
    text = "no node of the graph saves a result; add one such as SaveImage"
    if unknown:
        text += f", or give the facts of the unknown classes, which may save one: {_list(unknown)}"
    return text + (f"; muted or bypassed: {_list(muted)}" if muted else "")


def describe_class(class_type: str, pack: str) -> str:
    """Return the name of an unknown class, with its node pack if that is known."""
    return f"{class_type} (node pack {pack})" if pack else class_type


def _list(items: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(items))

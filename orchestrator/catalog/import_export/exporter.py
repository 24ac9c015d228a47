"""A model as a file that ComfyUI opens, with its defaults filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count, takewhile
from typing import Any

from orchestrator.catalog.checks.node_facts import (
    Input,
    NodeFacts,
    declared_inputs,
    inputs_of,
    output_types,
    sub_inputs,
)
from orchestrator.catalog.import_export.restored_template import note_of
from orchestrator.catalog.import_export.ui.layout import arrange
from orchestrator.catalog.import_export.ui.ui_graph import BadWorkflow
from orchestrator.catalog.import_export.ui.ui_to_api import OWN_KEY
from orchestrator.catalog.model import Model
from orchestrator.catalog.rendering.graph import as_link, links_of

Graph = dict[str, dict[str, Any]]

_BYPASSED = 4
_SEED_NAMES = ("seed", "noise_seed")


def export_api(model: Model) -> Graph:
    """The graph for the default request, in API format; optional nodes are there, linked to nothing."""
    graph = _filled(model)
    first = next(iter(graph))
    graph[first]["_meta"][OWN_KEY] |= _whole(model)
    return graph


def export_ui(model: Model, facts: NodeFacts) -> dict[str, Any]:
    """The same in UI format (schema 0.4); nodes that the default request does without are bypassed.

    Raises BadWorkflow for a class that the facts do not have: its widgets can not be drawn.
    """
    graph = _filled(model)
    facts = {**model.source.node_facts, **facts}
    numbers = {id: number for number, id in enumerate(graph, start=1)}
    places = arrange(graph)
    nodes = [
        _ui_node(node, facts) | {"id": numbers[id], "order": numbers[id] - 1, "pos": places[id]}
        for id, node in graph.items()
    ]
    links: list[list[Any]] = []
    for id, node in graph.items():
        for name, link in links_of(node["inputs"]):
            origin, target = nodes[numbers[link.node] - 1], nodes[numbers[id] - 1]
            links.append(_connect(len(links) + 1, origin, link.slot, target, name))
    return {
        "version": 0.4,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {OWN_KEY: _whole(model)},
    }


def _whole(model: Model) -> dict[str, Any]:
    """What belongs to no single node."""
    facts = model.source.node_facts
    return {"manifest": model.source.manifest} | ({"node_facts": facts} if facts else {})


def _filled(model: Model) -> Graph:
    """Every node of the template, with the values of the default request where that has it; a repeated
    node as often as that repeats it."""
    rendered = model.render(model.example(), filename_prefix="ComfyUI")
    template = model.source.template
    copies = {id: _copies(id, node, rendered) for id, node in template.items()}
    names = {name: id for id, copied in copies.items() for name in copied}
    graph: Graph = {}
    for name, id in names.items():
        node, inputs = template[id], rendered[name]["inputs"] if name in rendered else {}
        place = {"id": id, "copy": copies[id].index(name), "present": name in rendered}
        meta = {"title": node.get("_meta", {}).get("title") or id}
        note = {OWN_KEY: place | note_of(node, inputs, names)}
        graph[name] = {"class_type": node["class_type"], "inputs": dict(inputs), "_meta": meta | note}
    return graph


def _copies(id: str, node: Mapping[str, Any], rendered: Graph) -> list[str]:
    """The names of a template's node in the rendered graph; its own where it is not there."""
    if "each" not in node.get("_meta", {}):
        return [id]
    numbered = (f"{id}.{index}" for index in count())
    return list(takewhile(lambda name: name in rendered, numbered)) or [id]


def _ui_node(node: Mapping[str, Any], facts: NodeFacts) -> dict[str, Any]:
    entry, inputs, note = _entry(node, facts), node["inputs"], node["_meta"][OWN_KEY]
    sockets = [
        {"name": item.name, "type": item.type, "link": None}
        | ({"widget": {"name": item.name}} if item.is_widget else {})
        for item in inputs_of(entry, inputs).values()
    ]
    outputs = [
        {"name": name, "type": type, "links": [], "slot_index": slot}
        for slot, (name, type) in enumerate(
            zip(entry.get("output_name") or entry["output"], output_types(entry), strict=False)
        )
    ]
    values = [value for item in declared_inputs(entry) for value in _widget_slots(item, inputs)]
    return {
        "type": node["class_type"],
        "title": node["_meta"]["title"],
        "size": [315, 60 + 26 * max(len(values), len(sockets), len(outputs))],
        "flags": {},
        "mode": 0 if note["present"] else _BYPASSED,
        "inputs": sockets,
        "outputs": outputs,
        "properties": {"Node name for S&R": node["class_type"], OWN_KEY: note},
        "widgets_values": values,
    }


def _entry(node: Mapping[str, Any], facts: NodeFacts) -> Mapping[str, Any]:
    entry = facts.get(node["class_type"])
    if entry is None:
        raise BadWorkflow(f"nothing is known of the node class {node['class_type']}")
    return entry


def _widget_slots(item: Input, inputs: Mapping[str, Any]) -> list[Any]:
    """What `widgets_values` holds for one declared input."""
    if not item.is_widget:
        return []
    value = inputs.get(item.name)
    if value is None or as_link(value) is not None:
        value = item.default
    slots = [value["__value__"] if isinstance(value, dict) and "__value__" in value else value]
    if item.type == "COMFY_DYNAMICCOMBO_V3":
        slots += [slot for sub in sub_inputs(item, value) for slot in _widget_slots(sub, inputs)]
    elif item.options.get("control_after_generate", item.type == "INT" and item.name in _SEED_NAMES):
        slots.append("fixed")
    return slots


def _connect(number: int, origin: dict[str, Any], slot: int, target: dict[str, Any], name: str) -> list[Any]:
    """Draws a link between two UI nodes, and gives its row of the links table."""
    index = next(i for i, socket in enumerate(target["inputs"]) if socket["name"] == name)
    target["inputs"][index]["link"] = number
    origin["outputs"][slot]["links"].append(number)
    return [number, origin["id"], slot, target["id"], index, origin["outputs"][slot]["type"]]


def dumps(graph: Mapping[str, Any]) -> str:
    """The text of an exported file."""
    return json.dumps(graph, indent=2, ensure_ascii=False) + "\n"

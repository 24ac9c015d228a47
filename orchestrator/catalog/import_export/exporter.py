"""Export a model as a ComfyUI workflow with its defaults filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import count, takewhile
from typing import Any

from orchestrator.catalog.checks.node_facts import (
    SEED_INPUT_NAMES,
    NodeFacts,
    NodeInput,
    declared_inputs,
    dynamic_combo_inputs,
    output_types,
    resolve_inputs,
)
from orchestrator.catalog.import_export.restored_template import template_metadata
from orchestrator.catalog.import_export.ui.layout import layout_nodes
from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow
from orchestrator.catalog.import_export.ui.ui_to_api import EXPORT_METADATA_KEY
from orchestrator.catalog.model import Model
from orchestrator.catalog.rendering.expressions import is_template
from orchestrator.catalog.rendering.graph import ApiGraph, iter_links, parse_link

_BYPASSED_MODE = 4
#: Key of a node's `_meta` that names the parameter of each input that requests set.
PARAMETERS_KEY = "parameters"
#: Colors of nodes with such inputs: ComfyUI's own green.
_MARKED_COLORS = {"color": "#232", "bgcolor": "#353"}


def export_api(model: Model) -> ApiGraph:
    """Return the graph of the default request in API format; omitted nodes are included without links."""
    graph = _fill_defaults(model)
    first = next(iter(graph))
    graph[first]["_meta"][EXPORT_METADATA_KEY] |= _model_metadata(model)
    return graph


def export_ui(model: Model, facts: NodeFacts) -> dict[str, Any]:
    """Return the same in UI format (schema 0.4); nodes omitted by the default request are bypassed.

    Raises InvalidWorkflow for a node class without facts, since its widgets are unknown.
    """
    graph = _fill_defaults(model)
    facts = {**model.source.node_facts, **facts}
    numbers = {id: number for number, id in enumerate(graph, start=1)}
    places = layout_nodes(graph)
    nodes = [
        _ui_node(node, facts) | {"id": numbers[id], "order": numbers[id] - 1, "pos": places[id]}
        for id, node in graph.items()
    ]
    links: list[list[Any]] = []
    for id, node in graph.items():
        for name, link in iter_links(node["inputs"]):
            origin, target = nodes[numbers[link.node] - 1], nodes[numbers[id] - 1]
            links.append(_add_link(len(links) + 1, origin, link.slot, target, name))
    return {
        "version": 0.4,
        "last_node_id": len(nodes) + 1,
        "last_link_id": len(links),
        "nodes": [*nodes, *_parameter_note(model, len(nodes) + 1)],
        "links": links,
        "groups": [],
        "config": {},
        "extra": {EXPORT_METADATA_KEY: _model_metadata(model)},
    }


def _model_metadata(model: Model) -> dict[str, Any]:
    """Return the metadata of the whole model."""
    facts = model.source.node_facts
    return {"manifest": model.source.manifest} | ({"node_facts": facts} if facts else {})


def _fill_defaults(model: Model) -> ApiGraph:
    """Return every node of the template with the values of the default request, and the author's example.

    Repeated nodes occur as often as in the default request, omitted nodes once.
    """
    params = model.example_params(**model.manifest.example)
    rendered = model.render_graph(params, filename_prefix="ComfyUI", cut=False)
    template = model.source.template
    copies = {id: _copy_names(id, node, rendered) for id, node in template.items()}
    names = {name: id for id, copied in copies.items() for name in copied}
    graph: ApiGraph = {}
    for name, id in names.items():
        node, inputs = template[id], rendered[name]["inputs"] if name in rendered else {}
        place = {"id": id, "copy": copies[id].index(name), "present": name in rendered}
        meta = {"title": node.get("_meta", {}).get("title") or id}
        note = {EXPORT_METADATA_KEY: place | template_metadata(node, inputs, names)}
        marks = parameter_marks(node, model.parameters)
        meta |= {PARAMETERS_KEY: marks} if marks else {}
        graph[name] = {"class_type": node["class_type"], "inputs": dict(inputs), "_meta": meta | note}
    return graph


def _copy_names(id: str, node: Mapping[str, Any], rendered: ApiGraph) -> list[str]:
    """Return the ids of a template node's copies in the rendered graph; its own id if it is omitted."""
    if "each" not in node.get("_meta", {}):
        return [id]
    numbered = (f"{id}.{index}" for index in count())
    return list(takewhile(lambda name: name in rendered, numbered)) or [id]


def _ui_node(node: Mapping[str, Any], facts: NodeFacts) -> dict[str, Any]:
    entry, inputs, note = _require_facts(node, facts), node["inputs"], node["_meta"][EXPORT_METADATA_KEY]
    marks = node["_meta"].get(PARAMETERS_KEY, {})
    sockets = [
        {"name": item.name, "type": item.type, "link": None}
        | ({"widget": {"name": item.name}} if item.is_widget else {})
        | ({"label": f"{item.name} \N{LEFTWARDS ARROW} {marks[item.name]}"} if item.name in marks else {})
        for item in resolve_inputs(entry, inputs).values()
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
        "mode": 0 if note["present"] else _BYPASSED_MODE,
        "inputs": sockets,
        "outputs": outputs,
        "properties": {"Node name for S&R": node["class_type"], EXPORT_METADATA_KEY: note},
        "widgets_values": values,
        **(_MARKED_COLORS if marks else {}),
    }


def parameter_marks(node: Mapping[str, Any], parameters: Iterable[str]) -> dict[str, str]:
    """Return the inputs of a template node that requests set, and the parameters that set them."""
    marks = {}
    for name, value in node["inputs"].items():
        used = [each for each in parameters if _uses(value, each)]
        if used:
            marks[name] = ", ".join(used)
    return marks


def _uses(value: Any, parameter: str) -> bool:
    is_expression = isinstance(value, str) and is_template(value)
    return is_expression and re.search(rf"(?<![\w.]){re.escape(parameter)}\b", value) is not None


def _parameter_note(model: Model, number: int) -> list[dict[str, Any]]:
    """Return a note for the canvas that lists the parameters; the import ignores it."""
    if not model.parameters:
        return []
    lines = [f"# {model.name}", "", "Requests set the marked widgets:", ""]
    for name, spec in model.parameters.items():
        given = " (required)" if spec.required else ""
        lines.append(f"- **{name}**{given}: {spec.description or spec.type}")
    text = "\n".join(lines)
    size = [360, 120 + 24 * len(model.parameters)]
    place = {"id": number, "order": number - 1, "pos": [-420, 0], "size": size, "flags": {}, "mode": 0}
    sockets: dict[str, Any] = {"inputs": [], "outputs": [], "properties": {}}
    return [{**place, **sockets, "type": "MarkdownNote", "title": "Parameters", "widgets_values": [text]}]


def _require_facts(node: Mapping[str, Any], facts: NodeFacts) -> Mapping[str, Any]:
    entry = facts.get(node["class_type"])
    if entry is None:
        raise InvalidWorkflow(f"unknown node class {node['class_type']}: add its facts to nodes.json")
    return entry


def _widget_slots(item: NodeInput, inputs: Mapping[str, Any]) -> list[Any]:
    """Return the elements of `widgets_values` for one declared input."""
    if not item.is_widget:
        return []
    value = inputs.get(item.name)
    if value is None or parse_link(value) is not None:
        value = item.default
    slots = [value["__value__"] if isinstance(value, dict) and "__value__" in value else value]
    if item.type == "COMFY_DYNAMICCOMBO_V3":
        slots += [slot for sub in dynamic_combo_inputs(item, value) for slot in _widget_slots(sub, inputs)]
    elif item.options.get("control_after_generate", item.type == "INT" and item.name in SEED_INPUT_NAMES):
        slots.append("fixed")
    return slots


def _add_link(number: int, origin: dict[str, Any], slot: int, target: dict[str, Any], name: str) -> list[Any]:
    """Link two UI nodes, and return the row of the links table."""
    index = next(i for i, socket in enumerate(target["inputs"]) if socket["name"] == name)
    target["inputs"][index]["link"] = number
    origin["outputs"][slot]["links"].append(number)
    return [number, origin["id"], slot, target["id"], index, origin["outputs"][slot]["type"]]


def format_json(graph: Mapping[str, Any]) -> str:
    """Return the JSON text of an exported file."""
    return json.dumps(graph, indent=2, ensure_ascii=False) + "\n"

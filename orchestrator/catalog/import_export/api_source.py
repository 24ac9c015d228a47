"""Bring a graph in UI or API format into one form: API format, with `/` in the names of files."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, declared_inputs, resolve_inputs
from orchestrator.catalog.import_export.infer.parameter_nodes import PARAMETER_NODE_CLASSES
from orchestrator.catalog.import_export.old_classes import modernise_graph
from orchestrator.catalog.import_export.pack_versions import NO_VERSIONS, KnownVersions
from orchestrator.catalog.import_export.server_values import convert_values
from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow, is_ui_format
from orchestrator.catalog.import_export.ui.ui_to_api import (
    EXPORT_METADATA_KEY,
    SAVE_AGAIN,
    ConvertedWorkflow,
    convert_ui_to_api,
    drop_dangling_links,
    name_positional_values,
)
from orchestrator.catalog.import_export.workflow_files import is_api_format
from orchestrator.catalog.rendering.graph import ApiGraph, copy_json

#: A file in a folder, as Windows writes it.
_WINDOWS_PATH_PATTERN = re.compile(
    r'(?:[^\\/:*?"<>|\r\n]+\\)+[^\\/:*?"<>|\r\n]+'
    r"\.(?:safetensors|sft|ckpt|pt|pth|bin|gguf|onnx|png|jpe?g|webp|gif|mp4|webm|mov|wav|mp3|flac|ogg|ya?ml)",
    re.IGNORECASE,
)


def convert_to_api(
    data: Any,
    facts: NodeFacts,
    pack_classes: Container[str] = (),
    versions: KnownVersions = NO_VERSIONS,
) -> ConvertedWorkflow:
    """Convert a graph of either format. Raises InvalidWorkflow if it is none."""
    source = (
        convert_ui_to_api(data, facts, pack_classes, versions)
        if is_ui_format(data)
        else _read_api_graph(data, facts, pack_classes)
    )
    source.changes.extend(modernise_graph(source.graph, facts))
    source.changes.extend(convert_values(source.graph, facts))
    for node in source.graph.values():
        entry = facts.get(node["class_type"])
        declared = resolve_inputs(entry, node["inputs"]) if entry else {}
        for name, value in node["inputs"].items():
            if name not in declared or declared[name].type != "STRING":
                node["inputs"][name] = _replace_backslashes(value)
    return source


def copy_api_graph(data: Any) -> ApiGraph:
    """Return a copy of a graph in API format. Raises InvalidWorkflow."""
    if not is_api_format(data):
        raise InvalidWorkflow(_describe_no_graph(data))
    graph: ApiGraph = {}
    for name, node in copy_json(data).items():
        # Programs that fill in a graph leave out the inputs of nodes that they fill in whole.
        inputs = node.get("inputs", {})
        if not isinstance(inputs, dict) or not isinstance(node["class_type"], str):
            raise InvalidWorkflow(f"node {name}: must have a class_type (text) and inputs (object)")
        meta = node.get("_meta")
        graph[name] = node | {"inputs": inputs, "_meta": meta if isinstance(meta, dict) else {}}
    drop_dangling_links(graph)
    return graph


def _describe_no_graph(data: Any) -> str:
    """Return why JSON data is no graph in API format."""
    nodes = data if isinstance(data, dict) else {}
    wrong = [id for id, node in nodes.items() if not isinstance(node, dict) or "class_type" not in node]
    if 0 < len(wrong) < len(nodes):
        return f"node {wrong[0]}: must be an object with class_type and inputs"
    return (
        "must be a ComfyUI workflow in UI or API format, without anything around it; in ComfyUI, choose"
        " Export or Export (API)"
    )


def _read_api_graph(data: Any, facts: NodeFacts, pack_classes: Container[str]) -> ConvertedWorkflow:
    graph = copy_api_graph(data)
    changes = modernise_graph(graph, facts)
    notes = [node["_meta"].get(EXPORT_METADATA_KEY) for node in graph.values()]
    own = next((note for note in notes if isinstance(note, dict) and "manifest" in note), {})
    result = ConvertedWorkflow(graph, export_metadata=own, changes=changes)
    for id, node in graph.items():
        entry = facts.get(node["class_type"])
        if entry is None:
            meta = node["_meta"]
            result.unknown_classes[node["class_type"]] = str(meta.get("cnr_id") or meta.get("aux_id") or "")
        node["inputs"], mismatch = name_positional_values(node, entry)
        for item in declared_inputs(entry) if entry else ():
            if item.required and item.accepts_uploads and item.name not in node["inputs"]:
                # A program that fills in the file itself: it is a parameter of each request.
                node["inputs"][item.name] = ""
                changes.append(f"node {id}, input {item.name}: has no file, which every request has to give")
        if entry and not own and node["class_type"] not in PARAMETER_NODE_CLASSES:
            changes.extend(_fill_in_defaults(id, node["inputs"], entry))
        if mismatch and node["class_type"] in pack_classes:
            result.mismatches[id] = f"{mismatch}; {SAVE_AGAIN}"
    return result


def _fill_in_defaults(id: str, inputs: dict[str, Any], entry: Mapping[str, Any]) -> Iterator[str]:
    """Set required widgets that a file lacks to their defaults, as ComfyUI's page does; yield what was set.

    The class has got them since the file was saved, and their defaults keep what it did before. If the node
    has inputs that the class lacks, a widget may have been renamed, and its value lost.
    """
    declared = resolve_inputs(entry, inputs)
    if not inputs.keys() <= declared.keys():
        return
    for name, item in declared.items():
        is_new = item.required and item.is_widget and "." not in name and name not in inputs
        if is_new and ("default" in item.options or item.choices) and item.default is not None:
            inputs[name] = item.default
            yield f"node {id}, input {name}: the file has no value; {item.default!r} is the class's default"


def _replace_backslashes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replace_backslashes(item) for key, item in value.items()}
    if isinstance(value, str) and "\\" in value and _WINDOWS_PATH_PATTERN.fullmatch(value):
        return value.replace("\\", "/")
    return value

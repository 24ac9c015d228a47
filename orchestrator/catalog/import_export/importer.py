"""Import a ComfyUI graph as a model: infer its template and manifest, and list the open questions."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.catalog.checks.model_checks import validate_model
from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.import_export.draft_manifest import draft_manifest
from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.import_export.infer.infer_parameters import infer_parameters
from orchestrator.catalog.import_export.infer.output_nodes import OUTPUT_NODE_CLASS, replace_output_nodes
from orchestrator.catalog.import_export.infer.parameter_nodes import (
    PARAMETER_NODE_CLASSES,
    extract_parameter_nodes,
)
from orchestrator.catalog.import_export.manifest_text import format_manifest
from orchestrator.catalog.import_export.restored_template import restore_template
from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow, is_ui_format
from orchestrator.catalog.import_export.ui.ui_to_api import (
    EXPORT_METADATA_KEY,
    ConvertedWorkflow,
    convert_ui_to_api,
    drop_dangling_links,
)
from orchestrator.catalog.import_export.workflow_files import is_api_format
from orchestrator.catalog.manifest import ID_PATTERN
from orchestrator.catalog.model import Model
from orchestrator.catalog.rendering.expressions import is_template
from orchestrator.catalog.rendering.graph import (
    MAX_GRAPH_BYTES,
    ApiGraph,
    GraphNode,
    find_upstream_nodes,
    parse_graph,
    parse_link,
)

# Preview nodes, and the nodes that save the same data to a file.
_SAVE_CLASS_BY_PREVIEW = {
    "PreviewImage": "SaveImage",
    "PreviewAudio": "SaveAudio",
    "MaskPreview": "SaveImage",
}


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """The result of an import."""

    manifest: str
    graph: str
    #: `NODE.INPUT` -> expression, for inputs that requests set.
    bound_inputs: Mapping[str, str]
    #: `NODE.INPUT` -> value, for inputs that are the same in every request.
    fixed_inputs: Mapping[str, Any]
    #: What the author should fill in or review.
    open_questions: tuple[str, ...]
    #: Problems found by validating the new model.
    problems: tuple[GraphProblem, ...]
    #: Facts of nodes of a node pack, if the file contains them.
    node_facts: NodeFacts = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """The texts of the model's files by name, as `write_model` takes them."""
        files = {"model.toml": self.manifest, "graph.json": self.graph}
        if self.node_facts:
            files["nodes.json"] = json.dumps(self.node_facts, indent=1) + "\n"
        return files


def import_workflow(
    data: Any, *, id: str, facts: NodeFacts, today: date, comfyui_version: str
) -> ImportedModel:
    """Create the model `id` from a graph in UI or API format, as `read_workflow` returns it.

    `today` and `comfyui_version`, the version of `facts`, become part of the manifest. Raises
    InvalidWorkflow if `data` is not a graph, or has no node that could save a result.
    """
    if not re.fullmatch(ID_PATTERN, id) or len(id) > 100:
        raise InvalidWorkflow(
            f"{id[:100]!r} is not a valid model id: use at most 100 of a-z, 0-9, '.', '_' and '-'"
        )
    source = _convert_to_api(data, facts)
    own = restore_template(source.graph, source.export_metadata, facts)
    if own is not None:
        node_facts = source.export_metadata.get("node_facts")
        known = {**(node_facts if isinstance(node_facts, dict) else {}), **facts}
        return replace(
            _validate_import(own.build_manifest(id), own.graph, {}, [], known), node_facts=node_facts or {}
        )
    result_names = replace_output_nodes(source.graph, facts)
    graph, outputs = _ensure_outputs(source.graph, facts)
    found = ParameterBindings(graph, facts)
    extract_parameter_nodes(found)
    infer_parameters(found, outputs)
    needed = find_upstream_nodes(graph, outputs)
    manifest = draft_manifest(
        id, found, source, outputs, needed, today=today, comfyui_version=comfyui_version
    )
    for row in manifest["outputs"]:
        row |= {"name": result_names[row["node"]]} if row["node"] in result_names else {}
    notes = [*found.notes, *_list_open_questions(source, manifest)]
    idle = (name for name in found.parameters if not found.affects(name, needed))
    notes.extend(f"what the parameter {name} is for: no node that an output needs uses it" for name in idle)
    template = {name: _to_template_node(found, name, outputs) for name in graph if name in needed}
    fixed = {
        f"{name}.{key}": value
        for name in template
        for key, value in template[name]["inputs"].items()
        if parse_link(value) is None and not (isinstance(value, str) and is_template(value))
    }
    return _validate_import(format_manifest(manifest), template, fixed, notes, facts)


def _convert_to_api(data: Any, facts: NodeFacts) -> ConvertedWorkflow:
    if is_ui_format(data):
        return convert_ui_to_api(data, facts)
    if not is_api_format(data):
        raise InvalidWorkflow("must be a ComfyUI workflow in UI or API format")
    graph: ApiGraph = {}
    for name, node in copy.deepcopy(data).items():
        if not isinstance(node.get("inputs"), dict) or not isinstance(node["class_type"], str):
            raise InvalidWorkflow(f"node {name}: must have a class_type (text) and inputs (object)")
        meta = node.get("_meta")
        graph[name] = node | {"_meta": meta if isinstance(meta, dict) else {}}
    drop_dangling_links(graph)
    unknown = {node["class_type"]: "" for node in graph.values() if node["class_type"] not in facts}
    notes = [node["_meta"].get(EXPORT_METADATA_KEY) for node in graph.values()]
    own = next((note for note in notes if isinstance(note, dict) and "manifest" in note), {})
    return ConvertedWorkflow(graph, unknown_classes=unknown, export_metadata=own)


def _ensure_outputs(graph: ApiGraph, facts: NodeFacts) -> tuple[ApiGraph, list[str]]:
    """Return a copy of the graph that saves its results, and the nodes that save them.

    If no node saves a file, preview nodes are replaced by ones that do. Raises InvalidWorkflow.
    """
    graph = copy.deepcopy(graph)
    outputs = [id for id, node in graph.items() if _is_save_node(node, facts)]
    if not outputs:
        for id, node in list(graph.items()):
            if node["class_type"] not in _SAVE_CLASS_BY_PREVIEW:
                continue
            if "mask" in node["inputs"]:
                shown = {"mask": node["inputs"].pop("mask")}
                graph[f"{id}:image"] = {"class_type": "MaskToImage", "inputs": shown, "_meta": {}}
                node["inputs"]["images"] = [f"{id}:image", 0]
            node["class_type"] = _SAVE_CLASS_BY_PREVIEW[node["class_type"]]
            node["inputs"]["filename_prefix"] = ""
            outputs.append(id)
    if not outputs:
        raise InvalidWorkflow("no node of the graph saves a result; add one such as SaveImage")
    return graph, outputs


def _is_save_node(node: Mapping[str, Any], facts: NodeFacts) -> bool:
    entry = facts.get(node["class_type"], {})
    return "filename_prefix" in node["inputs"] and bool(entry.get("output_node", not entry))


def _to_template_node(bindings: ParameterBindings, id: str, outputs: list[str]) -> dict[str, Any]:
    """Return a node with expressions for bound inputs, and literals for all others."""
    node = bindings.graph[id]
    bound = {place.input: text for place, text in bindings.expressions.items() if place.node == id}
    inputs = {name: bound.get(name, _escape_expressions(value)) for name, value in node["inputs"].items()}
    if id in outputs:
        inputs["filename_prefix"] = "{{ filename_prefix }}"
    meta: dict[str, Any] = {"title": str(node["_meta"].get("title") or node["class_type"])}
    meta |= bindings.node_meta.get(id, {})
    return {"class_type": node["class_type"], "inputs": inputs, "_meta": meta}


def _escape_expressions(value: Any) -> Any:
    """Replace text that contains template syntax by an expression that evaluates to the text."""
    if isinstance(value, dict):
        return {key: _escape_expressions(item) for key, item in value.items()}
    if isinstance(value, list) and parse_link(value) is None:
        return [_escape_expressions(item) for item in value]
    if not isinstance(value, str) or not is_template(value):
        return value
    quoted = value.replace("\\", "\\\\").replace("'", "\\'").replace("\r", "\\r").replace("\n", "\\n")
    return f"{{{{ '{quoted}' }}}}"


def _list_open_questions(source: ConvertedWorkflow, manifest: Mapping[str, Any]) -> list[str]:
    """Return what the author should fill in or review."""
    notes = []
    for class_type, pack in source.unknown_classes.items():
        if class_type in PARAMETER_NODE_CLASSES or class_type == OUTPUT_NODE_CLASS:
            continue
        origin = f"; the file says it is part of {pack}" if pack else ""
        notes.append(f"facts of the node class {class_type}, which is unknown{origin}")
    notes.append(f"its price class: {manifest['price_class']} until you change it")
    notes.append("its license, GPU memory and time per step")
    files = [weight["path"] for weight in manifest["weights"] if not weight.get("url")]
    notes.extend(f"the URL of {file}" for file in files)
    if "prompt" not in manifest["parameters"]:
        notes.append("which text is the prompt, if there is one")
    return notes


def _validate_import(
    manifest: str, graph: Mapping[str, Any], fixed: Mapping[str, Any], notes: list[str], facts: NodeFacts
) -> ImportedModel:
    """Parse and validate the new model as if loaded from disk. Raises InvalidWorkflow if it is invalid."""
    text = json.dumps(graph, indent=2, ensure_ascii=False) + "\n"
    if len(text) > MAX_GRAPH_BYTES:
        raise InvalidWorkflow(f"the graph is larger than {MAX_GRAPH_BYTES} bytes")
    try:
        f"{manifest}{text}".encode()
        model = Model.parse(manifest, text, Path("import"))
        nodes = parse_graph(text, Path("import/graph.json"))
    except (CatalogError, UnicodeEncodeError) as error:
        raise InvalidWorkflow(f"the graph cannot be used as a model: {error}") from error
    problems = tuple(validate_model(model, facts))
    return ImportedModel(manifest, text, _collect_expressions(nodes), fixed, tuple(notes), problems)


def _collect_expressions(nodes: Mapping[str, GraphNode]) -> dict[str, str]:
    return {
        f"{id}.{name}": value
        for id, node in nodes.items()
        for name, value in node.inputs.items()
        if isinstance(value, str) and is_template(value)
    }

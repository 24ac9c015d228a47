"""A model out of a ComfyUI graph: its template, its manifest, and what could not be known."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.catalog.checks.graph_checks import Problem, reachable
from orchestrator.catalog.checks.model_checks import check_model
from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.import_export.draft_manifest import draft_manifest
from orchestrator.catalog.import_export.infer.bindings import Bindings
from orchestrator.catalog.import_export.infer.constants import ApiGraph
from orchestrator.catalog.import_export.infer.infer_parameters import find_parameters
from orchestrator.catalog.import_export.infer.parameter_nodes import PARAMETER_NODES, take_parameter_nodes
from orchestrator.catalog.import_export.manifest_text import dumped
from orchestrator.catalog.import_export.restored_template import restore
from orchestrator.catalog.import_export.ui.ui_graph import BadWorkflow, is_ui_format
from orchestrator.catalog.import_export.ui.ui_to_api import OWN_KEY, Converted, convert, drop_dangling
from orchestrator.catalog.import_export.workflow_files import is_api_format
from orchestrator.catalog.manifest import ID_PATTERN
from orchestrator.catalog.model import Model
from orchestrator.catalog.rendering.expressions import is_template
from orchestrator.catalog.rendering.graph import MAX_GRAPH_BYTES, Node, as_link, parse_graph

# Savers that write a file with a prefix are outputs; these only show, and are made to save.
_PREVIEWS = {"PreviewImage": "SaveImage", "PreviewAudio": "SaveAudio", "MaskPreview": "SaveImage"}


@dataclass(frozen=True, slots=True)
class Imported:
    """What `models import` writes and prints."""

    manifest: str
    graph: str
    #: `NODE.INPUT` -> expression: what requests set.
    bound: Mapping[str, str]
    #: `NODE.INPUT` -> value: what every request gets.
    fixed: Mapping[str, Any]
    #: What an author should look after, in sentences.
    unknown: tuple[str, ...]
    #: What the checks say of the new model.
    problems: tuple[Problem, ...]
    #: Facts of nodes that come with a pack, where the file carries them.
    node_facts: NodeFacts = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """The texts of the model's files by name, for `write_model`."""
        files = {"model.toml": self.manifest, "graph.json": self.graph}
        if self.node_facts:
            files["nodes.json"] = json.dumps(self.node_facts, indent=1) + "\n"
        return files


def import_workflow(data: Any, *, id: str, facts: NodeFacts) -> Imported:
    """A model called `id` from a graph in UI or API format, as `read_workflow` gives it.

    Raises BadWorkflow for what is no graph, or has nothing that could be a result.
    """
    if not re.fullmatch(ID_PATTERN, id) or len(id) > 100:
        raise BadWorkflow(f"{id[:100]!r} can not be the id of a model")
    source = _converted(data, facts)
    own = restore(source.graph, source.own, facts)
    if own is not None:
        node_facts = source.own.get("node_facts")
        known = {**(node_facts if isinstance(node_facts, dict) else {}), **facts}
        return replace(_checked(own.manifest_for(id), own.graph, {}, [], known), node_facts=node_facts or {})
    graph, outputs = _with_outputs(source.graph, facts)
    found = Bindings(graph, facts)
    take_parameter_nodes(found)
    find_parameters(found, outputs)
    needed = reachable(graph, outputs)
    manifest = draft_manifest(id, found, source, outputs, needed)
    notes = [*found.notes, *_notes(source, manifest)]
    idle = (name for name in found.parameters if not found.sets(name, needed))
    notes.extend(f"what the parameter {name} is for: no node that is needed takes it" for name in idle)
    template = {name: _templated(found, name, outputs) for name in graph if name in needed}
    fixed = {
        f"{name}.{key}": value
        for name in template
        for key, value in template[name]["inputs"].items()
        if as_link(value) is None and not (isinstance(value, str) and is_template(value))
    }
    return _checked(dumped(manifest), template, fixed, notes, facts)


def _converted(data: Any, facts: NodeFacts) -> Converted:
    if is_ui_format(data):
        return convert(data, facts)
    if not is_api_format(data):
        raise BadWorkflow("neither a workflow nor an API-format graph of ComfyUI")
    graph: ApiGraph = {}
    for name, node in copy.deepcopy(data).items():
        if not isinstance(node.get("inputs"), dict) or not isinstance(node["class_type"], str):
            raise BadWorkflow(f"node {name}: expected class_type and inputs")
        meta = node.get("_meta")
        graph[name] = node | {"_meta": meta if isinstance(meta, dict) else {}}
    drop_dangling(graph)
    unknown = {node["class_type"]: "" for node in graph.values() if node["class_type"] not in facts}
    notes = [node["_meta"].get(OWN_KEY) for node in graph.values()]
    own = next((note for note in notes if isinstance(note, dict) and "manifest" in note), {})
    return Converted(graph, unknown=unknown, own=own)


def _with_outputs(graph: ApiGraph, facts: NodeFacts) -> tuple[ApiGraph, list[str]]:
    """The graph, and the nodes whose files are its results."""
    outputs = [id for id, node in graph.items() if _saves(node, facts)]
    if not outputs:
        for id, node in list(graph.items()):
            if node["class_type"] not in _PREVIEWS:
                continue
            if "mask" in node["inputs"]:
                shown = {"mask": node["inputs"].pop("mask")}
                graph[f"{id}:image"] = {"class_type": "MaskToImage", "inputs": shown, "_meta": {}}
                node["inputs"]["images"] = [f"{id}:image", 0]
            node["class_type"] = _PREVIEWS[node["class_type"]]
            node["inputs"]["filename_prefix"] = ""
            outputs.append(id)
    if not outputs:
        raise BadWorkflow("no node of the graph saves a result")
    return graph, outputs


def _saves(node: Mapping[str, Any], facts: NodeFacts) -> bool:
    entry = facts.get(node["class_type"], {})
    return "filename_prefix" in node["inputs"] and bool(entry.get("output_node", not entry))


def _templated(found: Bindings, id: str, outputs: list[str]) -> dict[str, Any]:
    """A node with expressions where requests decide, and all else taken literally."""
    node = found.graph[id]
    bound = {place.input: text for place, text in found.places.items() if place.node == id}
    inputs = {name: bound.get(name, _escaped(value)) for name, value in node["inputs"].items()}
    if id in outputs:
        inputs["filename_prefix"] = "{{ filename_prefix }}"
    meta: dict[str, Any] = {"title": str(node["_meta"].get("title") or node["class_type"])}
    meta |= found.words.get(id, {})
    return {"class_type": node["class_type"], "inputs": inputs, "_meta": meta}


def _escaped(value: Any) -> Any:
    """Text that looks like an expression and is none becomes an expression that gives the text."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list) and as_link(value) is None:
        return [_escaped(item) for item in value]
    if not isinstance(value, str) or not is_template(value):
        return value
    quoted = value.replace("\\", "\\\\").replace("'", "\\'").replace("\r", "\\r").replace("\n", "\\n")
    return f"{{{{ '{quoted}' }}}}"


def _notes(source: Converted, manifest: Mapping[str, Any]) -> list[str]:
    """What the author should look after."""
    notes = []
    for class_type, pack in source.unknown.items():
        if class_type in PARAMETER_NODES:
            continue
        place = f"; it is said to come from {pack}" if pack else ""
        notes.append(f"nothing is known of the node class {class_type}{place}")
    notes.append(f"its price: it is charged like {manifest['price_class']}")
    notes.append("its license, its need of GPU memory and its time per step")
    files = [weight["path"] for weight in manifest["weights"] if not weight.get("url")]
    notes.extend(f"where {file} can be had" for file in files)
    if "prompt" not in manifest["parameters"]:
        notes.append("which text is the prompt, if there is one")
    return notes


def _checked(
    manifest: str, graph: Mapping[str, Any], fixed: Mapping[str, Any], notes: list[str], facts: NodeFacts
) -> Imported:
    """Reads the new model as it will be read from disk. Raises BadWorkflow when that is not possible."""
    text = json.dumps(graph, indent=2, ensure_ascii=False) + "\n"
    if len(text) > MAX_GRAPH_BYTES:
        raise BadWorkflow("the graph is too large for a model")
    try:
        f"{manifest}{text}".encode()
        model = Model.parse(manifest, text, Path("import"))
        nodes = parse_graph(text, Path("import/graph.json"))
    except (CatalogError, UnicodeEncodeError) as error:
        raise BadWorkflow(f"the graph makes no model: {error}") from error
    problems = tuple(check_model(model, facts))
    return Imported(manifest, text, _expressions(nodes), fixed, tuple(notes), problems)


def _expressions(nodes: Mapping[str, Node]) -> dict[str, str]:
    return {
        f"{id}.{name}": value
        for id, node in nodes.items()
        for name, value in node.inputs.items()
        if isinstance(value, str) and is_template(value)
    }

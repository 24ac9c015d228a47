"""Import a ComfyUI graph as a model: infer its template and manifest, and list the open questions."""

from __future__ import annotations

import json
import re
import tomllib
from collections import deque
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.catalog.checks.model_checks import validate_model
from orchestrator.catalog.checks.node_facts import NodeFacts, parse_once
from orchestrator.catalog.checks.undefined_classes import describe_undefined
from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.fixed_files import fix_literal_files
from orchestrator.catalog.import_export.api_source import convert_to_api, copy_api_graph
from orchestrator.catalog.import_export.compare_graphs import compare_with_prompt
from orchestrator.catalog.import_export.draft_manifest import (
    draft_manifest,
    find_weight_files,
    list_weight_folders,
)
from orchestrator.catalog.import_export.infer.batches import (
    count_results,
    find_batches,
    list_batch_questions,
    list_output_questions,
)
from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.import_export.infer.infer_parameters import infer_parameters
from orchestrator.catalog.import_export.infer.output_nodes import OUTPUT_NODE_CLASS, replace_output_nodes
from orchestrator.catalog.import_export.infer.parameter_nodes import (
    PARAMETER_NODE_CLASSES,
    extract_parameter_nodes,
)
from orchestrator.catalog.import_export.json_values import check_numbers, check_texts
from orchestrator.catalog.import_export.manifest_text import format_manifest
from orchestrator.catalog.import_export.old_classes import modernise_graph
from orchestrator.catalog.import_export.pack_versions import NO_VERSIONS, KnownVersions
from orchestrator.catalog.import_export.restored_template import RestoredTemplate, restore_template
from orchestrator.catalog.import_export.result_nodes import find_result_nodes
from orchestrator.catalog.import_export.server_values import convert_values
from orchestrator.catalog.import_export.template_nodes import to_template
from orchestrator.catalog.import_export.ui.silent_sources import name_silent_sources
from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow, as_mapping
from orchestrator.catalog.import_export.ui.ui_to_api import POSITIONAL_VALUES_KEY, ConvertedWorkflow
from orchestrator.catalog.known_folders import UNKNOWN_FOLDER
from orchestrator.catalog.known_packs import KnownPack, find_pack, find_pack_by_id
from orchestrator.catalog.manifest import ID_PATTERN, parse_manifest
from orchestrator.catalog.model import Model
from orchestrator.catalog.pack_options import packs_of_options, with_pack_options
from orchestrator.catalog.rendering.expressions import is_template
from orchestrator.catalog.rendering.graph import (
    MAX_GRAPH_BYTES,
    find_upstream_nodes,
    parse_link,
)

_HOW_TO_GIVE_FACTS = (
    "; or import again with --comfyui URL of a ComfyUI that has the pack, or --nodes FILE (its /object_info)"
)

#: Questions that an author may have answered already.
PRICE_QUESTION = "its price class: "
FACTS_QUESTION = "its license, GPU memory and time per step"


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
    #: Problems found by validating the new model, and by comparing it with the file.
    problems: tuple[GraphProblem, ...]
    #: Facts of nodes of a node pack, if the file or the author has them.
    node_facts: NodeFacts = field(default_factory=dict)
    #: Class of the graph without facts -> its node pack according to the file, or "".
    unknown_classes: Mapping[str, str] = field(default_factory=dict)
    #: What the import has replaced or left out.
    changes: tuple[str, ...] = ()
    #: The model as it was inferred; None for one that was made otherwise.
    model: Model | None = None

    @property
    def usable(self) -> bool:
        """Whether a server that has the weights and node packs runs the graph as its author drew it."""
        return all(problem.is_warning for problem in self.problems)

    @property
    def files(self) -> dict[str, str]:
        """The texts of the model's files by name, as `write_model` takes them."""
        files = {"model.toml": self.manifest, "graph.json": self.graph}
        if self.node_facts:
            files["nodes.json"] = json.dumps(self.node_facts, indent=1) + "\n"
        return files


@dataclass(frozen=True, slots=True)
class _MadeWith:
    """What becomes part of an inferred manifest, and whether the model is validated."""

    today: date
    comfyui_version: str
    validate: bool


def import_workflow(
    data: Any,
    *,
    id: str,
    facts: NodeFacts,
    today: date,
    comfyui_version: str,
    prompt: Any = None,
    picture: str = "",
    pack_facts: NodeFacts = MappingProxyType({}),
    versions: KnownVersions = NO_VERSIONS,
    weight_paths: Collection[str] = (),
    validate: bool = True,
) -> ImportedModel:
    """Create the model `id` from a graph in UI or API format, as `read_workflow_file` returns it.

    `today` and `comfyui_version`, the version of `facts`, become part of the manifest. `prompt` is the graph
    in API format of the same file, with which the result is compared, and `picture` a small picture that the
    author has made, as a `data:` URL. `pack_facts` are the author's facts of further classes; those that the
    graph uses become part of the model. `versions` name the values of files that other versions have
    saved. `weight_paths` are weight files of the author's ComfyUI, below `models/`. Without `validate`,
    the problems are only those of reading the file: the caller changes the model and validates it then.
    Raises InvalidWorkflow if `data` is not a graph, or saves no result.
    """
    _check_id(id)
    for name, graph in (("the graph", data), ("the graph in API format", prompt)):
        check_texts(graph, name)
    known = parse_once({**pack_facts, **with_pack_options(facts, pack_facts)})
    pack_classes = pack_facts.keys() - facts.keys()
    source = replace(convert_to_api(data, known, pack_classes, versions), weight_paths=weight_paths)
    check_numbers(source.graph)
    own = restore_template(source.graph, source.export_metadata, known)
    if own is not None:
        stored = as_mapping(source.export_metadata.get("node_facts"))
        node_facts = {**stored, **_used_facts(own.graph, pack_facts, pack_classes)}
        return _restore(own, id, node_facts, known, validate=validate)
    differences = [] if prompt is None else _compare(source, prompt, known)
    result = _infer_model(id, source, known, pack_classes, _MadeWith(today, comfyui_version, validate))
    kept = json.loads(result.graph)
    further = [each for each in (*differences, *_list_mismatches(source)) if each.node in kept]
    problems = [*name_silent_sources(result.problems, data), *further]
    unknown = {node["class_type"] for node in kept.values()} & source.unknown_classes.keys()
    shown = f"example_picture = {json.dumps(picture)}\n" if picture else ""
    return replace(
        result,
        manifest=shown + result.manifest,
        problems=tuple(problems),
        node_facts=_used_facts(kept, pack_facts, pack_classes),
        unknown_classes={name: source.unknown_classes[name] for name in sorted(unknown)},
    )


def _restore(
    own: RestoredTemplate, id: str, node_facts: NodeFacts, known: NodeFacts, *, validate: bool
) -> ImportedModel:
    """Return the model that a file was exported from."""
    facts = {**node_facts, **known}
    manifest, graph = _fix_files_of_export(own.build_manifest(id), own.graph, facts)
    result = _parse_import(manifest, graph, {}, [], facts if validate else None)
    return replace(result, node_facts=node_facts)


def _compare(source: ConvertedWorkflow, prompt: Any, facts: NodeFacts) -> list[GraphProblem]:
    """Return where a graph differs from the one in API format of the same file. Raises InvalidWorkflow."""
    run = copy_api_graph(prompt)
    modernise_graph(run, facts)
    deque(convert_values(run, facts), maxlen=0)
    return compare_with_prompt(source, run, facts)


def _list_mismatches(source: ConvertedWorkflow) -> Iterator[GraphProblem]:
    for node, text in source.mismatches.items():
        yield GraphProblem("widget_mismatch", text, node)


def _check_id(id: str) -> None:
    """Raise InvalidWorkflow if a model cannot have the id."""
    if not re.fullmatch(ID_PATTERN, id) or len(id) > 100:
        raise InvalidWorkflow(
            f"{id[:100]!r} is not a valid model id: use at most 100 of a-z, 0-9, '.', '_' and '-'"
        )


def _infer_model(
    id: str,
    source: ConvertedWorkflow,
    facts: NodeFacts,
    pack_classes: Container[str],
    made: _MadeWith,
) -> ImportedModel:
    """Return the model with the parameters that the graph seems to have. Raises InvalidWorkflow."""
    result_names = replace_output_nodes(source.graph, facts)
    results = find_result_nodes(source, facts, pack_classes)
    graph, outputs = results.graph, results.outputs
    found = ParameterBindings(graph, facts)
    extract_parameter_nodes(found)
    infer_parameters(found, outputs)
    _check_defaults(found)
    needed = find_upstream_nodes(graph, outputs)
    manifest = draft_manifest(
        id, found, source, outputs, needed, today=made.today, comfyui_version=made.comfyui_version
    )
    for row in manifest["outputs"]:
        row |= {"name": result_names[row["node"]]} if row["node"] in result_names else {}
    template = to_template(found, needed, outputs)
    notes = [*found.notes, *_list_open_questions(source, template, manifest)]
    notes.extend(
        f"the values of node {id} ({template[id]['class_type']}): {text}"
        for id, text in source.placed.items()
        if id in template
    )
    notes.extend(_list_folder_questions(found, source, list(needed)))
    batches = find_batches(found, manifest["kind"], outputs)
    manifest |= {"batch": count_results(batches)} if batches else {}
    notes.extend(list_batch_questions(batches))
    notes.extend(list_output_questions(outputs, manifest.get("batch", 1)))
    idle = (name for name in found.parameters if not found.affects(name, needed))
    notes.extend(f"what the parameter {name} is for: no node that an output needs uses it" for name in idle)
    fixed = {
        f"{name}.{key}": value
        for name in template
        for key, value in template[name]["inputs"].items()
        if parse_link(value) is None and not (isinstance(value, str) and is_template(value))
    }
    manifest, template = fix_literal_files(manifest, template, facts)
    text = format_manifest(manifest)
    result = _parse_import(text, template, fixed, notes, facts if made.validate else None)
    return replace(result, changes=(*source.changes, *results.changes))


def _check_defaults(found: ParameterBindings) -> None:
    """Raise InvalidWorkflow, naming the node, if the author's value is not in the range of its parameter."""
    for place, expression in found.expressions.items():
        spec = found.parameters.get(expression.strip("{} "), {})
        values: list[Any] = [spec.get(name) for name in ("minimum", "default", "maximum")]
        if all(isinstance(value, int | float) for value in values) and values != sorted(values):
            raise InvalidWorkflow(
                f"node {place.node}, input {place.input}: must be from {spec['minimum']} to {spec['maximum']}"
                f" (got {str(spec['default'])[:24]})"
            )


def _fix_files_of_export(
    manifest: str, graph: Mapping[str, Any], facts: NodeFacts
) -> tuple[str, Mapping[str, Any]]:
    """Return the manifest and graph of an exported model with the files that its author has chosen since."""
    try:
        parse_manifest(manifest, Path("import"))
    except CatalogError:
        # It is reported where the whole model is read.
        return manifest, graph
    parsed = tomllib.loads(manifest)
    changed, fixed = fix_literal_files(parsed, graph, facts)
    return (manifest, graph) if fixed == graph else (format_manifest(changed), fixed)


def _used_facts(
    graph: Mapping[str, Mapping[str, Any]], pack_facts: NodeFacts, pack_classes: Container[str]
) -> dict[str, Any]:
    """Return the author's facts of the classes that a graph uses."""
    classes = {str(node["class_type"]) for node in graph.values()}
    # The facts of one class say that the options of its pack are known.
    classes |= {pack.class_type for pack in packs_of_options(graph)}
    return {name: dict(pack_facts[name]) for name in sorted(classes) if name in pack_classes}


def _list_open_questions(
    source: ConvertedWorkflow, template: Mapping[str, Mapping[str, Any]], manifest: Mapping[str, Any]
) -> list[str]:
    """Return what the author should fill in or review."""
    notes = []
    used = {node["class_type"] for node in template.values()}
    for class_type, pack in source.unknown_classes.items():
        if class_type in PARAMETER_NODE_CLASSES or class_type == OUTPUT_NODE_CLASS or class_type not in used:
            continue
        if undefined := describe_undefined(class_type):
            notes.append(undefined)
            continue
        origin = f"; the file says it is part of {pack}" if pack else ""
        known = find_known_pack(class_type, pack)
        origin += f"; {known.id} has it: run `{known.add_command}`" if known else ""
        notes.append(f"facts of the node class {class_type}, which is unknown{origin}{_HOW_TO_GIVE_FACTS}")
    for id, node in template.items():
        if POSITIONAL_VALUES_KEY in node["_meta"]:
            count = len(node["_meta"][POSITIONAL_VALUES_KEY])
            notes.append(
                f"the names of the {count} widget values of node {id} ({node['class_type']}): they are kept"
                " by position, and set nothing until the facts of the class name them"
            )
    notes.append(f"{PRICE_QUESTION}{manifest['price_class']} until you change it")
    notes.append(FACTS_QUESTION)
    files = [weight["path"] for weight in manifest["weights"] if not weight.get("url")]
    notes.extend(f"the URL of {file}" for file in files)
    if "prompt" not in manifest["parameters"]:
        notes.append("which text is the prompt, if there is one")
    return notes


def _list_folder_questions(
    found: ParameterBindings, source: ConvertedWorkflow, needed: Sequence[str]
) -> Iterator[str]:
    """Yield the weight files whose folder is not known, or one of several."""
    for class_type, name, file in dict.fromkeys(find_weight_files(found, needed)):
        folders = list_weight_folders(class_type, name, file, found, source)
        if not folders:
            yield (
                f"the folder of {file}, which {name} of the class {class_type} loads: until then it is in"
                f" {UNKNOWN_FOLDER}/"
            )
        elif len(folders) > 1:
            yield f"the folder of {file}: {' or '.join(folders)}; {folders[0]} until you change it"


def find_known_pack(class_type: str, pack: str) -> KnownPack | None:
    """Return the public pack of a class: the one that the file names (`NAME VERSION`), else by the class."""
    return (find_pack_by_id(pack.partition(" ")[0]) if pack else None) or find_pack(class_type)


def _parse_import(
    manifest: str,
    graph: Mapping[str, Any],
    fixed: Mapping[str, Any],
    notes: list[str],
    facts: NodeFacts | None,
) -> ImportedModel:
    """Parse the new model as if loaded from disk, and validate it with facts.

    Raises InvalidWorkflow if it is invalid.
    """
    text = json.dumps(graph, indent=2, ensure_ascii=False) + "\n"
    if len(text) > MAX_GRAPH_BYTES:
        raise InvalidWorkflow(f"the graph is larger than {MAX_GRAPH_BYTES} bytes")
    try:
        model = Model.parse(manifest, text, Path("import"))
    except CatalogError as error:
        raise InvalidWorkflow(f"the graph cannot be used as a model: {error.without_file}") from error
    problems = () if facts is None else tuple(validate_model(model, facts))
    return ImportedModel(
        manifest, text, _collect_expressions(graph), fixed, tuple(notes), problems, model=model
    )


def _collect_expressions(graph: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"{id}.{name}": value
        for id, node in graph.items()
        for name, value in node["inputs"].items()
        if isinstance(value, str) and is_template(value)
    }

"""Turns a graph that an author submits into a model, with a report of what is known about it."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.catalog.checks.model_checks import validate_model
from orchestrator.catalog.checks.node_facts import NodeFacts, parse_once
from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.example_files import (
    EXAMPLES_NAME,
    choose_sent_files,
    decode_data_url,
    format_example_files,
)
from orchestrator.catalog.fixed_files import FIXED_FILES_NAME, fixed_file_expression, take_fixed_files
from orchestrator.catalog.import_export.importer import (
    FACTS_QUESTION,
    PRICE_QUESTION,
    ImportedModel,
    import_workflow,
)
from orchestrator.catalog.import_export.manifest_text import format_manifest
from orchestrator.catalog.import_export.ui.silent_sources import name_silent_sources
from orchestrator.catalog.known_folders import list_folders
from orchestrator.catalog.manifest import FIXED_FILES, ModelManifest
from orchestrator.catalog.model import Model
from orchestrator.catalog.publishing.draft_catalog import parse_files
from orchestrator.catalog.publishing.earlier_version import keep_decisions
from orchestrator.catalog.publishing.given_facts import check_given_facts
from orchestrator.catalog.publishing.installed_nodes import InstalledNodes
from orchestrator.catalog.publishing.manifest_edits import (
    PLACEHOLDERS,
    add_origins,
    apply_edits,
    find_missing,
    inherit_from,
)
from orchestrator.catalog.publishing.path_guard import find_outside_paths
from orchestrator.catalog.publishing.refusals import incomplete, unusable
from orchestrator.catalog.publishing.result_counts import BATCH, describe_unmade_results
from orchestrator.catalog.publishing.task_checks import check_task
from orchestrator.catalog.publishing.version_files import GRAPH_NAME, MANIFEST_NAME
from orchestrator.catalog.rendering.expressions import is_template
from orchestrator.errors import InvalidRequest, invalid_field

#: The author's canvas, which ComfyUI opens again.
WORKFLOW_NAME = "workflow.json"
#: Most nodes of a submitted graph.
MAX_NODES = 5000


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What an author submits; graphs are unchecked JSON."""

    id: str
    #: The canvas, in UI format.
    workflow: dict[str, Any] | None = None
    #: The graph in API format.
    prompt: dict[str, Any] | None = None
    #: Facts of the classes that the graph uses, as in `/object_info`.
    object_info: Mapping[str, Any] = field(default_factory=dict)
    packs: Sequence[Mapping[str, Any]] = ()
    weights: Sequence[Mapping[str, Any]] = ()
    #: The author's input files: `name` in ComfyUI's input folder, and `data` as a `data:` URL.
    example_files: Sequence[Mapping[str, Any]] = ()
    #: Changes to the manifest.
    manifest: Mapping[str, Any] = field(default_factory=dict)
    #: Who made the model, if neither file nor changes say it.
    default_owner: str = ""
    #: Whether nothing is stored: the author's files may come later.
    is_dry_run: bool = False
    #: Files of the version that is replaced; empty for a new model.
    earlier: Mapping[str, str] = field(default_factory=dict)
    #: Results that test runs of versions of this model made, by digest.
    made: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmittedModel:
    """A model made of a submission, and what is known about it."""

    model: Model
    imported: ImportedModel
    files: Mapping[str, str]
    problems: tuple[GraphProblem, ...]
    #: What has to be known before it is live, by field.
    missing: Mapping[str, str]
    #: The offered model with the same weights from which license and estimates are taken; empty for none.
    taken_from: str = ""
    #: What is kept of the version that is replaced.
    kept: tuple[str, ...] = ()
    #: Why the author's own files are not kept as examples.
    file_notes: tuple[str, ...] = ()
    #: What the author should fill in or review.
    questions: tuple[str, ...] = ()

    @property
    def fixed_inputs(self) -> dict[str, Any]:
        """The inputs that no request sets, also by the author's changes: `NODE.INPUT` and value."""
        return list_fixed_inputs(self.imported, self.files)

    @property
    def usable(self) -> bool:
        """Whether a server that has the weights and packs runs the graph."""
        return all(problem.is_warning for problem in self.problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class Knowledge:
    """What a service knows about nodes and models."""

    facts: NodeFacts
    comfyui_version: str
    offered: Sequence[Model]
    today: date
    #: Nodes of packs that are installed here.
    installed: InstalledNodes = field(default_factory=InstalledNodes)


def build_model(submission: Submission, knowledge: Knowledge) -> SubmittedModel:
    """Import the graph, apply the author's changes and check the result.

    Raises InvalidRequest, and InvalidWorkflow for a graph that is none.
    """
    object_info = check_given_facts(submission.object_info)
    graph = submission.workflow if submission.workflow is not None else submission.prompt
    _check_size(submission.workflow, submission.prompt)
    try:
        imported = import_workflow(
            graph,
            id=submission.id,
            facts=knowledge.facts,
            today=knowledge.today,
            comfyui_version=knowledge.comfyui_version,
            prompt=submission.prompt if submission.workflow is not None else None,
            pack_facts={**knowledge.installed.facts, **object_info},
            versions=knowledge.installed.versions,
            weight_paths=[str(weight["path"]) for weight in submission.weights if weight.get("path")],
            validate=False,
        )
        edited = _edit(imported, submission, knowledge)
        model = parse_files(edited.files, Path(submission.id), imported.model)
        check_task(model)
    except (CatalogError, RecursionError) as error:
        reason = error.without_file if isinstance(error, CatalogError) else "it is nested too deeply"
        raise InvalidRequest(
            f"The graph cannot be used as a model: {reason}", code="invalid_manifest", param="manifest"
        ) from error
    facts = parse_once({**imported.node_facts, **object_info, **knowledge.facts})
    found = [*name_silent_sources(find_problems(model, facts), graph), *imported.problems]
    missing = list_missing(model, facts, submission.made)
    awaited = _await_fixed_files(submission, model, missing)
    if FIXED_FILES in missing and edited.file_notes:
        missing[FIXED_FILES] = f"{missing[FIXED_FILES]} ({'; '.join(edited.file_notes)})"
    return SubmittedModel(
        model=model,
        imported=imported,
        files=edited.files,
        problems=tuple(_distinct(found)),
        missing=missing,
        taken_from=edited.taken_from,
        kept=edited.kept,
        file_notes=edited.file_notes,
        questions=(
            *list_unanswered(imported.open_questions, model.manifest, has_price=edited.has_price),
            *edited.file_notes,
            *awaited,
        ),
    )


def _await_fixed_files(submission: Submission, model: Model, missing: dict[str, str]) -> list[str]:
    """Return the question about files that a dry run is without, in place of what is `missing`."""
    if not submission.is_dry_run or submission.example_files or FIXED_FILES not in missing:
        return []
    del missing[FIXED_FILES]
    names = ", ".join(file.name for file in model.manifest.fixed_files.values() if not file.sha256)
    return [f"the files that every run loads are kept when the model is saved with them: {names}"]


def check_publishable(
    files: Mapping[str, str], facts: NodeFacts, made: Mapping[str, int] = MappingProxyType({})
) -> Model:
    """Return the model with these files if it may be live; `made` are the results of test runs by version.

    Raises InvalidRequest, CatalogError.
    """
    model = parse_files(files, Path("draft"))
    check_task(model)
    facts = {**model.source.node_facts, **facts}
    problems = find_problems(model, facts)
    if not all(problem.is_warning for problem in problems):
        raise unusable(model.id, problems)
    missing = list_missing(model, facts, made)
    if missing:
        raise incomplete(model.id, missing)
    return model


def list_missing(model: Model, facts: NodeFacts, made: Mapping[str, int]) -> dict[str, str]:
    """Return what has to be known before a model is live, by field. Raises CatalogError."""
    unmade = describe_unmade_results(model, facts, made.get(model.digest))
    return find_missing(model.manifest) | ({BATCH: unmade} if unmade else {})


def find_problems(model: Model, facts: NodeFacts) -> list[GraphProblem]:
    """Return what is wrong with a model, without its weights and an instance.

    Raises CatalogError, and InvalidRequest for a manifest that refuses requests which it allows.
    """
    try:
        found = validate_model(model, facts)
    except InvalidRequest as error:
        raise invalid_field(
            "manifest", f"refuses a request that its defaults and ranges allow: {str(error).rstrip(' .')}"
        ) from error
    # The graph of a request has the defaults of parameters; the template the texts of parts that it omits.
    rendered = model.render_graph(model.example_params(), filename_prefix="example", cut=False)
    for graph in (model.source.template, rendered):
        found += find_outside_paths(graph, facts)
    return found


@dataclass(frozen=True, slots=True)
class EditedFiles:
    """A model's files with an author's changes."""

    files: dict[str, str]
    #: The offered model from which the rest is taken; empty for none.
    taken_from: str = ""
    #: What is kept of the version that is replaced.
    kept: tuple[str, ...] = ()
    #: Why the author's own files are not kept as examples.
    file_notes: tuple[str, ...] = ()
    #: Whether the author, or the version before, has chosen the price class.
    has_price: bool = False


def edit_files(
    files: Mapping[str, str],
    edits: Mapping[str, Any],
    offered: Sequence[Model],
    default_owner: str = "",
    earlier: Mapping[str, str] | None = None,
    *,
    facts: NodeFacts = MappingProxyType({}),
    weight_paths: Sequence[str] = (),
) -> EditedFiles:
    """Return a model's files with what its `earlier` version decided, and an author's changes.

    `facts` are those of installed packs, and `weight_paths` files of the author's ComfyUI: both say which
    folders weights may be in. Raises InvalidRequest.
    """
    manifest, graph = tomllib.loads(files[MANIFEST_NAME]), json.loads(files[GRAPH_NAME])
    kept: tuple[str, ...] = ()
    if earlier:
        decided = keep_decisions(manifest, graph, edits, earlier)
        manifest, graph, edits, kept = decided.manifest, decided.graph, decided.edits, decided.notes
    if manifest.get("owner") in PLACEHOLDERS and default_owner:
        manifest["owner"] = default_owner
    inherited, taken_from = inherit_from(manifest, [*offered])
    stored = [weight.path for model in offered for weight in model.manifest.weights]
    folders = list_folders(facts, [*weight_paths, *stored])
    changed, new_graph = apply_edits(inherited, graph, edits, folders)
    has_price = bool(earlier) or "price_class" in edits
    is_same_graph = new_graph == json.loads(files[GRAPH_NAME])
    if is_same_graph and changed == tomllib.loads(files[MANIFEST_NAME]):
        return EditedFiles(dict(files), kept=kept, has_price=has_price)
    edited = _with_manifest(files, changed, None if is_same_graph else new_graph)
    return EditedFiles(edited, taken_from, kept, has_price=has_price)


def list_fixed_inputs(imported: ImportedModel, files: Mapping[str, str]) -> dict[str, Any]:
    """Return what no request sets of an import, in the model with these files: `NODE.INPUT` and value."""
    template = json.loads(files[GRAPH_NAME])
    rows = tomllib.loads(files[MANIFEST_NAME]).get(FIXED_FILES, {})
    names = {fixed_file_expression(slot): row["name"] for slot, row in rows.items()}
    fixed = dict(imported.fixed_inputs)
    for place in imported.bound_inputs:
        id, _, input = place.partition(".")
        value = template.get(id, {}).get("inputs", {}).get(input)
        value = names.get(value, value) if isinstance(value, str) else value
        if value is not None and not (isinstance(value, str) and is_template(value)):
            fixed[place] = value
    return fixed


def list_unanswered(questions: Sequence[str], manifest: ModelManifest, *, has_price: bool) -> tuple[str, ...]:
    """Return an import's questions without those that the manifest of the model answers."""
    missing = find_missing(manifest)
    knows_facts = not missing.keys() & {"license", "estimates"}
    return tuple(
        question
        for question in questions
        if not (has_price and question.startswith(PRICE_QUESTION))
        and not (knows_facts and question == FACTS_QUESTION)
    )


def _distinct(problems: Iterable[GraphProblem]) -> Iterable[GraphProblem]:
    """Return the first problem of each kind and input, which is that of the author's own value."""
    found: dict[tuple[str, ...], GraphProblem] = {}
    for each in problems:
        found.setdefault((each.code, each.node, each.input) if each.input else (str(each),), each)
    return found.values()


def _edit(imported: ImportedModel, submission: Submission, knowledge: Knowledge) -> EditedFiles:
    edited = edit_files(
        imported.files,
        submission.manifest,
        knowledge.offered,
        submission.default_owner,
        submission.earlier,
        facts={**knowledge.installed.facts, **imported.node_facts},
        weight_paths=[str(weight["path"]) for weight in submission.weights if weight.get("path")],
    )
    files = edited.files
    packs = knowledge.installed.complete_origins(json.loads(files[GRAPH_NAME]), submission.packs)
    if packs or submission.weights:
        manifest = add_origins(tomllib.loads(files[MANIFEST_NAME]), packs, [*submission.weights])
        files = _with_manifest(files, manifest)
    given = [(str(row.get("name")), decode_data_url(row.get("data"))) for row in submission.example_files]
    files, fixed_notes = add_fixed_files(files, given, submission.earlier.get(FIXED_FILES_NAME, ""))
    kept, notes = choose_sent_files(tomllib.loads(files[MANIFEST_NAME]), given)
    notes += fixed_notes
    if kept:
        files[EXAMPLES_NAME] = format_example_files(kept)
    if submission.workflow is not None:
        files[WORKFLOW_NAME] = json.dumps(submission.workflow) + "\n"
    return dataclasses.replace(edited, files=files, file_notes=tuple(notes))


def add_fixed_files(
    files: Mapping[str, str], given: Iterable[tuple[str, bytes | None]], earlier: str = ""
) -> tuple[dict[str, str], list[str]]:
    """Return a model's files with the content of its fixed files, and why others are not kept.

    `earlier` is the `fixed_files.json` of the version before.
    """
    manifest = tomllib.loads(files[MANIFEST_NAME])
    if not manifest.get(FIXED_FILES):
        return {name: text for name, text in files.items() if name != FIXED_FILES_NAME}, []
    changed, content, notes = take_fixed_files(manifest, given, earlier)
    rest = {name: text for name, text in files.items() if name != FIXED_FILES_NAME}
    if changed != manifest:
        rest = _with_manifest(rest, changed)
    return rest | ({FIXED_FILES_NAME: content} if content else {}), notes


def _with_manifest(
    files: Mapping[str, str], manifest: dict[str, Any], graph: dict[str, Any] | None = None
) -> dict[str, str]:
    """Return a model's files with another manifest and, if it has changed, graph. Raises InvalidRequest."""
    try:
        text = format_manifest(manifest)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise InvalidRequest(
            f"`manifest` cannot be written: {error}", code="invalid_manifest", param="manifest"
        ) from error
    changed = {} if graph is None else {GRAPH_NAME: json.dumps(graph, indent=2, ensure_ascii=False) + "\n"}
    return {**files, MANIFEST_NAME: text, **changed}


def _check_size(*graphs: dict[str, Any] | None) -> None:
    for graph in graphs:
        nodes = graph.get("nodes", graph) if graph else ()
        if isinstance(nodes, list | dict) and len(nodes) > MAX_NODES:
            raise InvalidRequest(
                f"The graph has {len(nodes)} nodes; at most {MAX_NODES} are taken",
                code="graph_too_large",
                param="prompt",
            )

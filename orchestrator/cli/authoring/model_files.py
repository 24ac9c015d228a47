"""`pixelfactory models import` and `export`: convert between ComfyUI workflow files and models."""

from __future__ import annotations

import asyncio
import dataclasses
import json as json_
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from comfy_instances.install.lock import load_comfyui_lock
from orchestrator.app.pack_choice import load_installed_nodes
from orchestrator.app.resources import open_store, utc_now
from orchestrator.catalog import Catalog, Model, write_model
from orchestrator.catalog.example_files import (
    EXAMPLES_NAME,
    choose_example_files,
    format_example_files,
    named_examples,
)
from orchestrator.catalog.fixed_files import FIXED_FILES_NAME
from orchestrator.catalog.import_export import (
    ImportedModel,
    InvalidWorkflow,
    WorkflowFile,
    export_api,
    export_ui,
    import_report,
    import_workflow,
    read_workflow_file,
)
from orchestrator.catalog.import_export.exporter import format_json
from orchestrator.catalog.import_export.manifest_text import format_manifest
from orchestrator.catalog.import_export.pack_versions import PackVersion
from orchestrator.catalog.import_export.ui.ui_graph import is_ui_format
from orchestrator.catalog.manifest import FIXED_FILES, parse_manifest
from orchestrator.catalog.publishing.installed_nodes import InstalledNodes
from orchestrator.catalog.publishing.manifest_edits import add_origins
from orchestrator.catalog.publishing.submission import (
    WORKFLOW_NAME,
    EditedFiles,
    add_fixed_files,
    edit_files,
    list_fixed_inputs,
    list_unanswered,
)
from orchestrator.catalog.publishing.version_files import MANIFEST_NAME
from orchestrator.cli.authoring.example_files import find_example_files, write_own_files
from orchestrator.cli.authoring.node_facts import fetch_node_facts, load_node_facts, read_node_facts
from orchestrator.cli.authoring.own_models import OwnModels
from orchestrator.cli.service_access.service_choice import read_service_settings
from orchestrator.cli.terminal.console import (
    CliError,
    DataDirOption,
    JsonOption,
    err,
    out,
    print_json,
)
from orchestrator.errors import InvalidRequest
from orchestrator.settings import Settings

#: Maximum size of a workflow file; only videos come near it.
MAX_FILE_BYTES = 2**30
FixOption = Annotated[
    list[str] | None,
    typer.Option(help="Parameter that requests do not set: it stays as in the graph. Repeatable."),
]
NodesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--nodes",
        help="File with the /object_info of a ComfyUI that has the packs, or of `packs facts`. Repeatable.",
    ),
]
#: Characters of a value that are shown.
_MAX_VALUE_LENGTH = 60


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="Workflow JSON (UI or API format), or an image, video, audio file or 3D model that has one."
        ),
    ],
    id: Annotated[str, typer.Option(help="Id of the new model.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the draft of the model, or prepare its next version.")
    ] = False,
    author: Annotated[
        str | None, typer.Option(help="Account that may call the draft and publish it, besides operators.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="Write a plain folder into this directory of models instead of a draft."),
    ] = None,
    comfyui: Annotated[
        str | None,
        typer.Option("--comfyui", help="URL of a running ComfyUI whose node packs the graph uses."),
    ] = None,
    fix: FixOption = None,
    nodes: NodesOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Create a draft of a model from a ComfyUI workflow.

    Lists the inputs that requests set, those that are fixed, and what the author has to fill in. Only the
    author and operators can call it until `pixelfactory models publish`.
    """
    source = _read_workflow_file(file)
    installed = load_installed_nodes(read_service_settings(data_dir).comfyui_dir)
    imported = _import_file(source, id, installed, _read_given_facts(comfyui, nodes or []))
    found = _with_origins(imported, installed)
    edits, examples = _edits_that_fix(fix), find_example_files(file, _named_files(found), comfyui)
    draft = _Draft(id, found.files | _canvas_files(source.graph), edits, examples, author)
    if into is not None:
        stored, made = _write_plain_model(into, draft)
    else:
        stored, made = _write_draft(read_service_settings(data_dir), draft, replace=replace)
    found = _describe_made(found, made)
    if json:
        print_json({"id": id, **stored, **_import_to_json(found)})
    else:
        then = "publish" if into is None else "check"
        _print_import(found, stored["folder"], f"pixelfactory models {then} {id}")


def export(
    id: Annotated[str, typer.Argument(help="Id or alias of a model.")],
    format: Annotated[
        Literal["api", "ui"],
        typer.Option(help="`ui` for ComfyUI's editor, with a layout; `api` for `POST /prompt`."),
    ] = "ui",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; by default stdout.")
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Export a model as a workflow that ComfyUI opens; importing it again gives the same model."""
    model = OwnModels(read_service_settings(data_dir)).with_drafts[id]
    graph = export_api(model) if format == "api" else export_ui(model, load_node_facts())
    if output is None:
        typer.echo(format_json(graph), nl=False)
        return
    output.write_text(format_json(graph), encoding="utf-8")
    err.print(f"wrote {model.id} to {output}")
    for file in write_own_files(model, output.resolve().parent / "input"):
        err.print(f"wrote {file}: put it into ComfyUI's input folder")


def _import_file(
    source: WorkflowFile, id: str, installed: InstalledNodes, given: Sequence[PackVersion]
) -> ImportedModel:
    """Import a file with the facts of the installed packs; `given` ones name the values of other versions.

    Classes that are not installed have the given facts. Raises InvalidWorkflow.
    """
    pack_facts: dict[str, Any] = {}
    for version in reversed(given):
        pack_facts |= version.nodes
    found = import_workflow(
        source.graph,
        id=id,
        facts=load_node_facts(),
        today=utc_now().date(),
        comfyui_version=load_comfyui_lock().version,
        prompt=source.prompt,
        picture=source.picture,
        pack_facts={**pack_facts, **installed.facts},
        versions=dataclasses.replace(installed.versions, given=given),
    )
    return dataclasses.replace(found, open_questions=(*source.notes, *found.open_questions))


def _with_origins(imported: ImportedModel, installed: InstalledNodes) -> ImportedModel:
    """Return the model with the installed packs that its graph uses in its manifest."""
    packs = installed.complete_origins(json_.loads(imported.graph), ())
    if not packs:
        return imported
    manifest = add_origins(tomllib.loads(imported.manifest), packs, [])
    return dataclasses.replace(imported, manifest=format_manifest(manifest))


def _describe_made(found: ImportedModel, made: EditedFiles) -> ImportedModel:
    """Return an import as the author's changes, and the version before, have left it."""
    fixed = list_fixed_inputs(found, made.files)
    bound = {place: text for place, text in found.bound_inputs.items() if place not in fixed}
    manifest = parse_manifest(made.files[MANIFEST_NAME], Path(MANIFEST_NAME))
    questions = list_unanswered(found.open_questions, manifest, has_price=made.has_price)
    return dataclasses.replace(
        found,
        bound_inputs=bound,
        fixed_inputs=fixed,
        changes=(*found.changes, *made.kept),
        open_questions=(*questions, *made.file_notes),
    )


def _named_files(imported: ImportedModel) -> list[str]:
    """Return the names of the author's input files that a model names."""
    manifest = tomllib.loads(imported.manifest)
    fixed = [row["name"] for row in manifest.get(FIXED_FILES, {}).values()]
    return [*named_examples(manifest).values(), *fixed]


def _with_own_files(made: EditedFiles, found: Sequence[tuple[str, bytes]], earlier: str = "") -> EditedFiles:
    """Return a model with the author's input files, and why others are not kept.

    `earlier` is the `fixed_files.json` of the version before.
    """
    files, fixed_notes = add_fixed_files(made.files, found, earlier)
    kept, notes = choose_example_files(tomllib.loads(files[MANIFEST_NAME]), found)
    if kept:
        files |= {EXAMPLES_NAME: format_example_files(kept)}
    return dataclasses.replace(made, files=files, file_notes=(*notes, *fixed_notes))


def _read_given_facts(url: str | None, files: Sequence[Path]) -> list[PackVersion]:
    """Return the facts that the author gives, of their own ComfyUI first.

    Raises CliError, InstanceError, OSError.
    """
    own = [PackVersion(asyncio.run(fetch_node_facts(url))["nodes"])] if url else []
    return [*own, *map(read_node_facts, files)]


def _edits_that_fix(names: Sequence[str] | None) -> dict[str, Any]:
    """Return the edits of a draft whose parameters of these names stay as in the graph."""
    return {"parameters": dict.fromkeys(names)} if names else {}


def _read_workflow_file(file: Path) -> WorkflowFile:
    """Raises InvalidWorkflow naming the file, OSError."""
    if file.stat().st_size > MAX_FILE_BYTES:
        raise InvalidWorkflow(f"{file}: the file is larger than {MAX_FILE_BYTES} bytes")
    try:
        return read_workflow_file(file.read_bytes())
    except InvalidWorkflow as error:
        raise InvalidWorkflow(f"{file}: {error}") from error


@dataclasses.dataclass(frozen=True, slots=True)
class _Draft:
    """What is written as a draft."""

    id: str
    files: Mapping[str, str]
    #: Changes to the manifest.
    edits: Mapping[str, Any]
    #: The author's input files, by name.
    own_files: Sequence[tuple[str, bytes]]
    author: str | None


def _write_plain_model(directory: Path, draft: _Draft) -> tuple[dict[str, str], EditedFiles]:
    """Write the folder of a new model, without its canvas; return where, and its files.

    Raises CliError, CatalogError, InvalidRequest, OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _check_id_is_free(directory, draft.id)
    made = _with_own_files(_edit(draft, []), draft.own_files)
    files = {name: text for name, text in made.files.items() if name != WORKFLOW_NAME}
    return {"folder": str(write_model(directory, draft.id, files)), "state": "live"}, made


def _edit(draft: _Draft, offered: list[Model], earlier: Mapping[str, str] | None = None) -> EditedFiles:
    """Raises CliError for a parameter that cannot be fixed."""
    try:
        return edit_files(draft.files, draft.edits, offered, earlier=earlier)
    except InvalidRequest as error:
        if not draft.edits:
            raise
        raise CliError(f"--fix: {error.message.removeprefix('`manifest` ')}") from error


def _write_draft(settings: Settings, draft: _Draft, *, replace: bool) -> tuple[dict[str, str], EditedFiles]:
    """Save a draft, with what is known from models with the same weights; return where, and its files.

    A draft that replaces a model keeps what its author decided. Raises Conflict, CatalogError, OSError.
    """
    settings.published_path.mkdir(parents=True, exist_ok=True)
    models = OwnModels(settings)
    author = None if draft.author is None else asyncio.run(_find_account(settings, draft.author))
    earlier = models.publisher.read_latest(draft.id, models.offered) if replace else None
    edited = _edit(draft, list(models.offered), earlier)
    completed = _with_own_files(edited, draft.own_files, (earlier or {}).get(FIXED_FILES_NAME, ""))
    return models.save_draft(draft.id, completed.files, author, replace=replace), completed


async def _find_account(settings: Settings, id: str) -> str:
    """Return the id of an account, or that of the account of a key. Raises NotFound."""
    async with open_store(settings) as store:
        return (await store.resolve_account(id)).id


def _canvas_files(graph: Any) -> dict[str, str]:
    """Return the file that keeps the author's canvas, if the workflow has one."""
    return {WORKFLOW_NAME: json_.dumps(graph) + "\n"} if is_ui_format(graph) else {}


def _check_id_is_free(directory: Path, id: str) -> None:
    """Raise CliError if the id is an alias of another model."""
    catalog, _ = Catalog([]).reload(directory)
    if id in catalog and catalog[id].id != id:
        raise CliError(f"--id {id} is already an alias of the model {catalog[id].id}; choose another id")


def _import_to_json(imported: ImportedModel) -> dict[str, Any]:
    return {"bound": dict(imported.bound_inputs), **import_report(imported)}


def _print_import(imported: ImportedModel, folder: str, then: str) -> None:
    for line in _format_import(imported):
        out.print(line, highlight=False, soft_wrap=True)
    err.print(f"written to {folder}; review its model.toml, then run: {then}")


def _format_import(imported: ImportedModel) -> Iterator[str]:
    """Yield lines with markup."""
    yield from _format_section("Set by requests", imported.bound_inputs)
    yield from _format_section("Fixed", imported.fixed_inputs)
    yield from _format_section("Changed or left out", dict.fromkeys(imported.changes))
    yield from _format_section("To fill in", dict.fromkeys(imported.open_questions))
    yield from _format_section("Problems", dict.fromkeys(map(str, imported.problems)))


def _format_section(title: str, rows: Mapping[str, Any]) -> Iterator[str]:
    if rows:
        yield f"[bold]{title}[/bold]"
    for name, value in rows.items():
        text = "" if value is None else f" = {value!r}" if not isinstance(value, str) else f" = {value}"
        line = " ".join(text.split())
        line = line if len(line) <= _MAX_VALUE_LENGTH else f"{line[:_MAX_VALUE_LENGTH]}..."
        yield f"  {escape(name)} {escape(line)}".rstrip()

"""`pixelfactory models import` and `export`: convert between ComfyUI workflow files and models."""

from __future__ import annotations

import asyncio
import dataclasses
import json as json_
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from comfy_instances.install.lock import load_comfyui_lock
from orchestrator.app.pack_choice import load_installed_nodes
from orchestrator.app.resources import open_store, utc_now
from orchestrator.catalog import Catalog, write_model
from orchestrator.catalog.example_files import (
    EXAMPLES_NAME,
    choose_example_files,
    format_example_files,
    named_examples,
)
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
from orchestrator.catalog.import_export.ui.ui_graph import is_ui_format
from orchestrator.catalog.publishing.installed_nodes import InstalledNodes
from orchestrator.catalog.publishing.manifest_edits import add_origins
from orchestrator.catalog.publishing.submission import (
    WORKFLOW_NAME,
    EditedFiles,
    edit_files,
    list_unanswered,
)
from orchestrator.cli.console import (
    CliError,
    DataDirOption,
    JsonOption,
    err,
    out,
    print_json,
)
from orchestrator.cli.example_files import find_example_files
from orchestrator.cli.node_facts import fetch_node_facts, load_node_facts, read_node_facts
from orchestrator.cli.own_models import OwnModels
from orchestrator.cli.service_choice import read_service_settings
from orchestrator.settings import Settings

#: Maximum size of a workflow file; only videos come near it.
MAX_FILE_BYTES = 2**30
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
    nodes: Annotated[
        Path | None,
        typer.Option("--nodes", help="File with the /object_info of a ComfyUI that has the node packs."),
    ] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Create a draft of a model from a ComfyUI workflow.

    Lists the inputs that requests set, those that are fixed, and what the author has to fill in. Only the
    author and operators can call it until `pixelfactory models publish`.
    """
    source = _read_workflow_file(file)
    installed = load_installed_nodes(read_service_settings(data_dir).comfyui_dir)
    pack_facts = {**installed.facts, **_read_pack_facts(comfyui, nodes)}
    found = _with_origins(_import_file(source, id, pack_facts), installed)
    found, examples = _with_example_files(found, file, comfyui)
    if into is not None:
        stored, then = _write_plain_model(into, id, found.files | examples), "check"
    else:
        files = found.files | examples | _canvas_files(source.graph)
        stored, made = _write_draft(read_service_settings(data_dir), id, files, author, replace=replace)
        questions = list_unanswered(found.open_questions, made.files, has_price=made.has_price)
        found = dataclasses.replace(found, changes=(*found.changes, *made.kept), open_questions=questions)
        then = "publish"
    if json:
        print_json({"id": id, **stored, **_import_to_json(found)})
        return
    for line in _format_import(found):
        out.print(line, highlight=False, soft_wrap=True)
    err.print(
        f"written to {stored['folder']}; review its model.toml, then run: pixelfactory models {then} {id}"
    )


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


def _import_file(source: WorkflowFile, id: str, pack_facts: Mapping[str, Any]) -> ImportedModel:
    """Raises InvalidWorkflow."""
    found = import_workflow(
        source.graph,
        id=id,
        facts=load_node_facts(),
        today=utc_now().date(),
        comfyui_version=load_comfyui_lock().version,
        prompt=source.prompt,
        picture=source.picture,
        pack_facts=pack_facts,
    )
    return dataclasses.replace(found, open_questions=(*source.notes, *found.open_questions))


def _with_origins(imported: ImportedModel, installed: InstalledNodes) -> ImportedModel:
    """Return the model with the installed packs that its graph uses in its manifest."""
    packs = installed.complete_origins(json_.loads(imported.graph), ())
    if not packs:
        return imported
    manifest = add_origins(tomllib.loads(imported.manifest), packs, [])
    return dataclasses.replace(imported, manifest=format_manifest(manifest))


def _with_example_files(
    imported: ImportedModel, graph: Path, comfyui: str | None
) -> tuple[ImportedModel, dict[str, str]]:
    """Return the model with notes on the author's input files, and the file that keeps them."""
    manifest = tomllib.loads(imported.manifest)
    found = find_example_files(graph, named_examples(manifest).values(), comfyui)
    kept, notes = choose_example_files(manifest, found)
    noted = dataclasses.replace(imported, open_questions=(*imported.open_questions, *notes))
    return noted, {EXAMPLES_NAME: format_example_files(kept)} if kept else {}


def _read_pack_facts(url: str | None, file: Path | None) -> dict[str, Any]:
    """Return the facts of the author's own ComfyUI. Raises CliError, InstanceError, OSError."""
    stored = read_node_facts(file) if file else {}
    return stored | (asyncio.run(fetch_node_facts(url))["nodes"] if url else {})


def _read_workflow_file(file: Path) -> WorkflowFile:
    """Raises InvalidWorkflow naming the file, OSError."""
    if file.stat().st_size > MAX_FILE_BYTES:
        raise InvalidWorkflow(f"{file}: the file is larger than {MAX_FILE_BYTES} bytes")
    try:
        return read_workflow_file(file.read_bytes())
    except InvalidWorkflow as error:
        raise InvalidWorkflow(f"{file}: {error}") from error


def _write_plain_model(directory: Path, id: str, files: Mapping[str, str]) -> dict[str, str]:
    """Write the folder of a new model and return where. Raises CliError, CatalogError, OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    _check_id_is_free(directory, id)
    return {"folder": str(write_model(directory, id, files)), "state": "live"}


def _write_draft(
    settings: Settings, id: str, files: Mapping[str, str], author: str | None, *, replace: bool
) -> tuple[dict[str, str], EditedFiles]:
    """Save a draft, with what is known from models with the same weights; return where, and its files.

    A draft that replaces a model keeps what its author decided. Raises Conflict, CatalogError, OSError.
    """
    settings.published_path.mkdir(parents=True, exist_ok=True)
    models = OwnModels(settings)
    if author is not None:
        author = asyncio.run(_find_account(settings, author))
    earlier = models.publisher.read_latest(id, models.offered) if replace else None
    completed = edit_files(files, {}, list(models.offered), earlier=earlier)
    return models.save_draft(id, completed.files, author, replace=replace), completed


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

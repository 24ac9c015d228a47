"""`pixelfactory models import` and `export`: between ComfyUI's files and models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from comfy_instances.node_facts import load_packs, load_recorded
from orchestrator.catalog import Catalog, write_model
from orchestrator.catalog.exchange import (
    BadWorkflow,
    Imported,
    export_api,
    export_ui,
    import_workflow,
    read_workflow,
)
from orchestrator.catalog.exchange.exporter import dumps
from orchestrator.cli.console import CommandFailed, Json, err, out, print_json, read_settings

#: Bytes. Larger are only videos, and none that ComfyUI's own nodes write in minutes.
MAX_FILE_BYTES = 2**30
#: Characters of a value that are shown.
_SHOWN = 60


def import_(
    file: Annotated[Path, typer.Argument(help="UI or API format, or a PNG, WebP or MP4 that carries one.")],
    id: Annotated[str, typer.Option(help="What the model shall be called.")],
    into: Annotated[
        Path | None, typer.Option(help="Directory of models; default: PIXELFACTORY_WORKFLOWS_DIR.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a model of a ComfyUI graph, and tell what it takes, what is fixed and what could not be known."""
    found = import_workflow(_read(file), id=id, facts=known_nodes())
    directory = into or read_settings().workflows_dir
    directory.mkdir(parents=True, exist_ok=True)
    _check_free(directory, id)
    folder = write_model(directory, id, found.files)
    if json:
        print_json({"id": id, "folder": str(folder), **_view(found)})
        return
    for line in _told(found):
        out.print(line, highlight=False, soft_wrap=True)
    err.print(f"written to {folder}; look through its model.toml, then: pixelfactory models check {id}")


def export(
    id: Annotated[str, typer.Argument(help="Id or alias of a model.")],
    format: Annotated[
        Literal["api", "ui"], typer.Option(help="`ui` opens with a layout, `api` is what servers take.")
    ] = "ui",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write.")] = None,
) -> None:
    """Give a model as a file that ComfyUI opens; imported again it is the same model."""
    model = Catalog.load(read_settings().workflows_dir)[id]
    graph = export_api(model) if format == "api" else export_ui(model, known_nodes())
    if output is None:
        typer.echo(dumps(graph), nl=False)
        return
    output.write_text(dumps(graph), encoding="utf-8")
    err.print(f"{model.id} in {output}")


def known_nodes() -> Mapping[str, Any]:
    """Facts of the pinned ComfyUI's nodes, and of the packs that we know."""
    return {**load_packs(), **load_recorded()}


def _read(file: Path) -> dict[str, Any]:
    """Raises BadWorkflow naming the file, OSError."""
    if file.stat().st_size > MAX_FILE_BYTES:
        raise BadWorkflow(f"{file}: larger than {MAX_FILE_BYTES} bytes")
    try:
        return read_workflow(file.read_bytes())
    except BadWorkflow as error:
        raise BadWorkflow(f"{file}: {error}") from error


def _check_free(directory: Path, id: str) -> None:
    """Raises CommandFailed where another model has that id as its alias."""
    catalog, _ = Catalog([]).refreshed(directory)
    if id in catalog and catalog[id].id != id:
        raise CommandFailed(f"{id} is an alias of {catalog[id].id} already")


def _view(found: Imported) -> dict[str, Any]:
    return {
        "bound": dict(found.bound),
        "fixed": dict(found.fixed),
        "unknown": list(found.unknown),
        "problems": [str(problem) for problem in found.problems],
    }


def _told(found: Imported) -> Iterator[str]:
    """Lines with markup."""
    yield from _section("Requests set", found.bound)
    yield from _section("Fixed as drawn", found.fixed)
    yield from _section("Not known", dict.fromkeys(found.unknown))
    yield from _section("Wrong", dict.fromkeys(map(str, found.problems)))


def _section(title: str, rows: Mapping[str, Any]) -> Iterator[str]:
    if rows:
        yield f"[bold]{title}[/bold]"
    for name, value in rows.items():
        text = "" if value is None else f" = {value!r}" if not isinstance(value, str) else f" = {value}"
        line = " ".join(text.split())
        line = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
        yield f"  {escape(name)} {escape(line)}".rstrip()

"""`pixelfactory models publish`, `history`, `diff`, `rollback` and `remove`: the versions of models."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from orchestrator.app.pack_choice import load_installed_nodes
from orchestrator.catalog.manifest import FIXED_FILES
from orchestrator.catalog.publishing.draft_catalog import parse_files
from orchestrator.catalog.publishing.manifest_edits import find_missing
from orchestrator.catalog.publishing.submission import edit_files
from orchestrator.cli.authoring.own_models import OwnModels
from orchestrator.cli.service_access.service_choice import read_service_settings
from orchestrator.cli.terminal.console import (
    GB,
    CliError,
    DataDirOption,
    JsonOption,
    err,
    print_json,
    print_json_or,
    print_lines,
    print_rows,
)
from orchestrator.cli.terminal.numbers import number_at_least
from orchestrator.errors import NotFound
from orchestrator.model_publishing import diff_files

ModelId = Annotated[str, typer.Argument(help="Id of the model.")]
WhyOption = Annotated[str, typer.Option(help="Reason, for the history.")]
VERSION_HELP = "`live`, `draft`, or the beginning of a version as `history` shows it."
HISTORY_COLUMNS = ("at", "action", "version", "by", "why")


def publish(
    id: ModelId,
    why: WhyOption = "",
    license: Annotated[str | None, typer.Option(help="License of weights and graph.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who made the model.")] = None,
    kind: Annotated[str | None, typer.Option(help="What it makes, such as image or video.")] = None,
    price_class: Annotated[str | None, typer.Option(help="Row of the price list.")] = None,
    vram_gb: Annotated[
        float | None, typer.Option(help="GPU memory of a run in GB.", parser=number_at_least(0))
    ] = None,
    step_seconds: Annotated[
        float | None, typer.Option(help="Seconds per sampling step.", parser=number_at_least(0))
    ] = None,
    load_seconds: Annotated[
        float | None, typer.Option(help="Seconds to load the model.", parser=number_at_least(0))
    ] = None,
    weight_folder: Annotated[
        list[str] | None,
        typer.Option(
            help="FILE=FOLDER below models/, for a weight file whose folder is unknown. Repeatable."
        ),
    ] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Make the draft of a model live, for all callers.

    Asks for what is not known about it, or takes it from options. A running service offers it within seconds.
    """
    models = OwnModels(read_service_settings(data_dir))
    estimates = {
        "vram_bytes": None if vram_gb is None else round(vram_gb * GB),
        "step_seconds": step_seconds,
        "load_seconds": load_seconds,
    }
    plain = {"license": license, "owner": owner, "kind": kind, "price_class": price_class}
    edits: dict[str, Any] = {name: value for name, value in plain.items() if value is not None}
    edits["estimates"] = {name: value for name, value in estimates.items() if value is not None}
    if weight_folder:
        edits["weight_folders"] = dict(map(_split_folder, weight_folder))
    _complete_draft(models, id, edits)
    version = models.publisher.publish_draft(id, models.change(why), models.offered, models.check_publishable)
    models.record("publish", id, version, why)
    print_json_or(
        f"{id} is live, version {version[:12]}",
        {"id": id, "version": version, "state": "live"},
        as_json=json,
    )


def history(id: ModelId, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List what happened to a model, newest first: drafts, versions, who, when and why."""
    models = OwnModels(read_service_settings(data_dir))
    record = models.publisher.files.read_record(id)
    if not record.exists and id not in models.offered:
        raise NotFound(f"There is no model {id}", code="model_not_found")
    rows = [event.to_json() for event in reversed(record.events)]
    shown = rows if json else [row | {"version": row["version"][:12]} for row in rows]
    print_rows(shown, HISTORY_COLUMNS, as_json=json)


def diff(
    id: ModelId,
    old: Annotated[str, typer.Argument(help=VERSION_HELP)] = "",
    new: Annotated[str, typer.Argument(help=VERSION_HELP)] = "",
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show what differs between two versions: by default from the live one to the draft.

    Without a draft, from the version before the live one to the live one.
    """
    models = OwnModels(read_service_settings(data_dir))
    first, second = old or "live", new
    if not new:
        second = "draft" if models.publisher.files.read_draft(id) else "live"
    if not old and second == "live":
        first = models.publisher.find_previous(id, models.offered)
    before, after = (models.publisher.read_any(id, one, models.offered) for one in (first, second))
    text = diff_files(before, after, first[:12], second[:12])
    if json:
        print_json({"old": first, "new": second, "diff": text})
    else:
        print_lines(text)


def rollback(
    id: ModelId,
    version: Annotated[str, typer.Argument(help="Version; by default the one before the live one.")] = "",
    why: WhyOption = "",
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Make an earlier version of a model live again. Jobs go on with the version that they began with."""
    models = OwnModels(read_service_settings(data_dir))
    change = models.change(why)
    made = models.publisher.rollback(id, version or None, change, models.offered, models.check_kept)
    models.record("rollback", id, made, why)
    print_json_or(
        f"{id} is version {made[:12]} again", {"id": id, "version": made, "state": "live"}, as_json=json
    )


def remove(
    id: ModelId,
    draft: Annotated[bool, typer.Option("--draft", help="Discard the draft only.")] = False,
    why: WhyOption = "",
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Stop offering a model. Its versions are kept, and jobs go on.

    A shipped model that it overlaid is offered again.
    """
    models = OwnModels(read_service_settings(data_dir))
    act = models.publisher.discard_draft if draft else models.publisher.remove
    version = act(id, models.change(why), models.offered)
    models.record("discard" if draft else "remove", id, version, why)
    what = f"the draft of {id} is discarded" if draft else f"{id} is no longer offered"
    print_json_or(what, {"id": id, "version": version, "state": "removed"}, as_json=json)


def _complete_draft(models: OwnModels, id: str, edits: dict[str, Any]) -> None:
    """Write what options and answers say about a draft into its manifest."""
    files = models.publisher.files.read_draft(id)
    if files is None:
        raise NotFound(f"There is no draft of {id}; `pixelfactory models import` makes one")
    facts = load_installed_nodes(models.comfyui_dir).facts
    changed = edit_files(files, edits, list(models.offered), facts=facts).files
    missing = find_missing(parse_files(changed, models.publisher.files.draft_folder(id)).manifest)
    if missing and sys.stdin.isatty() and FIXED_FILES not in missing:
        changed = edit_files(changed, _ask(missing), list(models.offered), facts=facts).files
    elif missing:
        options = {
            "license": "--license",
            "owner": "--owner",
            "estimates": "--vram-gb and --step-seconds",
            "weight_folders": "--weight-folder FILE=FOLDER",
            FIXED_FILES: f"pixelfactory models import --replace --id {id}",
        }
        wanted = "; ".join(f"{options[name]} ({what})" for name, what in missing.items())
        raise CliError(f"{id} cannot be live before this is known: {wanted}; or edit its model.toml")
    if changed != files:
        author = models.publisher.files.read_record(id).draft_author
        models.save_draft(id, changed, author, replace=True)


def _split_folder(text: str) -> tuple[str, str]:
    file, separator, folder = text.strip().rpartition("=")
    if not separator or not file.strip():
        raise CliError(f"--weight-folder must be FILE=FOLDER, such as face.bin=ipadapter (got {text!r})")
    return file.strip(), folder.strip().rstrip("/")


def _ask(missing: dict[str, str]) -> dict[str, Any]:
    edits: dict[str, Any] = {}
    for name, what in missing.items():
        if name == "estimates":
            vram = typer.prompt("GPU memory of a run in GB", type=float, err=True)
            step = typer.prompt("Seconds per sampling step", type=float, err=True)
            edits[name] = {"vram_bytes": round(vram * GB), "step_seconds": step}
        elif name == "weight_folders":
            answer = typer.prompt(f"{what}, as FILE=FOLDER, separated by commas", err=True)
            edits[name] = dict(_split_folder(part) for part in answer.split(",") if part.strip())
        else:
            edits[name] = typer.prompt(f"{name}: {what}", err=True)
    err.print("written into the draft")
    return edits

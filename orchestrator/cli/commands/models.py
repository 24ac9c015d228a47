"""`pixelfactory models`: list, show, check, import and export models."""

from __future__ import annotations

import json as json_
from dataclasses import asdict
from typing import Annotated, Any

import typer

from orchestrator.app.resources import load_catalog_and_tariff
from orchestrator.billing.model_listing import list_model
from orchestrator.catalog import Catalog, CatalogError, Model
from orchestrator.catalog.checks.model_checks import validate_model
from orchestrator.catalog.publishing.draft_catalog import DraftCatalog
from orchestrator.cli.authoring import model_files, model_versions
from orchestrator.cli.authoring.node_facts import load_node_facts
from orchestrator.cli.authoring.own_models import OwnModels
from orchestrator.cli.service_access import warming
from orchestrator.cli.service_access.service_choice import read_service_settings
from orchestrator.cli.terminal.console import (
    DataDirOption,
    JsonOption,
    err,
    print_error,
    print_json,
    print_rows,
)
from orchestrator.intake.name_defaults import default_params
from orchestrator.settings import Settings
from pricing.tariff import Tariff

LIST_COLUMNS = ("id", "state", "type", "owned_by", "max_resolution", "default_steps", "price_per_image_cents")
PARAMETER_COLUMNS = ("name", "type", "default", "minimum", "maximum", "required")

app = typer.Typer(help="List, show, check, import, export and publish models.", no_args_is_help=True)
app.command("import")(model_files.import_)
app.command()(model_files.export)
app.command()(model_versions.publish)
app.command()(model_versions.history)
app.command()(model_versions.diff)
app.command()(model_versions.rollback)
app.command()(model_versions.remove)
app.command()(warming.warm)


@app.command("list")
def list_(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List all models with their prices, and the drafts."""
    catalog, tariff, models = _load(read_service_settings(data_dir))
    live = set(catalog)
    rows = [
        asdict(list_model(model, tariff, name, default_params(models.defaults_of(name), model)))
        | {"state": "live" if model in live else "draft"}
        for name, model in models.offers()
    ]
    print_rows(rows, LIST_COLUMNS, as_json=json)


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="Id or alias of a model; `ID@draft` for a draft.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show one model and its parameters."""
    _, tariff, models = _load(read_service_settings(data_dir))
    view = _model_to_json(id, models, tariff)
    if json:
        print_json(view)
        return
    for name in ("id", "display_name", "type", "owned_by", "license", "aliases", "price_per_image_cents"):
        typer.echo(f"{name:24} {view[name]}")
    if view["batch"] > 1:
        typer.echo(f"{'results of each request':24} {view['batch']}, all charged")
    typer.echo("")
    print_rows(view["parameters"], PARAMETER_COLUMNS, as_json=False)


@app.command()
def check(
    models: Annotated[list[str] | None, typer.Argument(help="Ids of models; by default all models.")] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Validate, without an instance, that ComfyUI accepts the graphs of every kind of request."""
    own = OwnModels(read_service_settings(data_dir))
    chosen, broken = _select_models(own, models)
    facts = load_node_facts()
    rows: list[dict[str, Any]] = [
        {"model": model.id, "problem": str(problem)}
        for model in chosen
        for problem in validate_model(model, facts)
    ]
    rows += [
        {"model": model.id, "problem": f"`batch` must be {text}"}
        for model in chosen
        if (text := own.describe_unmade_results(model))
    ]
    rows += [{"model": error.file.parent.name, "problem": str(error)} for error in broken]
    if json:
        print_json({"checked": [model.id for model in chosen], "problems": rows})
    elif rows:
        print_rows(rows, ("model", "problem"), as_json=False)
    if rows:
        print_error(f"{len(rows)} problem(s) in {len({row['model'] for row in rows})} model(s)")
        raise typer.Exit(1)
    err.print(f"{len(chosen)} model(s) checked, no problems")


def _load(settings: Settings) -> tuple[Catalog, Tariff, Catalog]:
    """Return the offered models, the price list, and the models with drafts."""
    own = OwnModels(settings)
    catalog, tariff = load_catalog_and_tariff(settings)
    drafts = DraftCatalog(settings.published_path, own.check_price)
    drafts.reload()
    return catalog, tariff, drafts.add_all_to(catalog)


def _select_models(own: OwnModels, names: list[str] | None) -> tuple[list[Model], list[CatalogError]]:
    """Return the models to check, and the errors of models that cannot be loaded."""
    catalog, broken = own.load_all()
    if not names:
        return [model for _, model in catalog.names()], broken
    broken = [error for error in broken if error.file.parent.name in names or error.file.name in names]
    unread = {part for error in broken for part in (error.file.parent.name, error.file.name)}
    return list(dict.fromkeys(catalog[name] for name in names if name not in unread)), broken


def _model_to_json(name: str, models: Catalog, tariff: Tariff) -> dict[str, Any]:
    model = models[name]
    parameters = [
        {"name": name, **json_.loads(spec.model_dump_json())} for name, spec in model.parameters.items()
    ]
    return {
        **asdict(list_model(model, tariff, name, default_params(models.defaults_of(name), model))),
        "description": model.description,
        "license": model.manifest.license,
        "batch": model.manifest.batch,
        "aliases": list(model.aliases),
        "parameters": parameters,
        "weights": [
            {"path": weight.path, "bytes": weight.bytes, "dtype": weight.dtype}
            for weight in model.select_weights()
        ],
    }

"""`pixelfactory models`: list, show, check, import and export models."""

from __future__ import annotations

import json as json_
from dataclasses import asdict
from typing import Annotated, Any

import typer

from orchestrator.app.resources import load_catalog_and_tariff, utc_now
from orchestrator.billing.model_listing import list_model
from orchestrator.billing.price_files import check_model_priced, load_tariffs
from orchestrator.catalog import Catalog, CatalogError, Model
from orchestrator.catalog.checks.model_checks import validate_model
from orchestrator.cli import model_files
from orchestrator.cli.console import JsonOption, err, print_error, print_json, print_rows, read_settings
from orchestrator.settings import Settings
from pricing.tariff import Tariff

LIST_COLUMNS = ("id", "type", "owned_by", "max_resolution", "default_steps", "price_per_image_cents")
PARAMETER_COLUMNS = ("name", "type", "default", "minimum", "maximum", "required")

app = typer.Typer(help="List, show, check, import and export models.", no_args_is_help=True)
app.command("import")(model_files.import_)
app.command()(model_files.export)


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List all models with their prices."""
    catalog, tariff = load_catalog_and_tariff(read_settings())
    rows = [asdict(list_model(model, tariff, name)) for name, model in catalog.offers()]
    print_rows(rows, LIST_COLUMNS, as_json=json)


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="Id or alias of a model.")], json: JsonOption = False
) -> None:
    """Show one model and its parameters."""
    catalog, tariff = load_catalog_and_tariff(read_settings())
    view = _model_to_json(id, catalog[id], tariff)
    if json:
        print_json(view)
        return
    for name in ("id", "display_name", "type", "owned_by", "license", "aliases", "price_per_image_cents"):
        typer.echo(f"{name:24} {view[name]}")
    typer.echo("")
    print_rows(view["parameters"], PARAMETER_COLUMNS, as_json=False)


@app.command()
def check(
    models: Annotated[list[str] | None, typer.Argument(help="Ids of models; by default all models.")] = None,
    json: JsonOption = False,
) -> None:
    """Validate, without an instance, that ComfyUI accepts the graphs of every kind of request."""
    chosen, broken = _select_models(read_settings(), models)
    facts = model_files.load_node_facts()
    rows: list[dict[str, Any]] = [
        {"model": model.id, "problem": str(problem)}
        for model in chosen
        for problem in validate_model(model, facts)
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


def _select_models(settings: Settings, names: list[str] | None) -> tuple[list[Model], list[CatalogError]]:
    """Return the models to check, and the errors of models that cannot be loaded."""
    prices, today = load_tariffs(settings), utc_now().date()
    catalog, broken = Catalog([]).reload(
        settings.workflows_dir, lambda model: check_model_priced(model, prices, today)
    )
    if not names:
        return list(catalog), broken
    broken = [error for error in broken if error.file.parent.name in names or error.file.name in names]
    unread = {part for error in broken for part in (error.file.parent.name, error.file.name)}
    return list(dict.fromkeys(catalog[name] for name in names if name not in unread)), broken


def _model_to_json(name: str, model: Model, tariff: Tariff) -> dict[str, Any]:
    parameters = [
        {"name": name, **json_.loads(spec.model_dump_json())} for name, spec in model.parameters.items()
    ]
    return {
        **asdict(list_model(model, tariff, name)),
        "description": model.description,
        "license": model.manifest.license,
        "aliases": list(model.aliases),
        "parameters": parameters,
        "weights": [
            {"path": weight.path, "bytes": weight.bytes, "dtype": weight.dtype}
            for weight in model.select_weights()
        ],
    }

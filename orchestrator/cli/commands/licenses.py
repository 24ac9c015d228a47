"""`pixelfactory licenses`: what the licenses of models allow, and the operator's word about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from orchestrator.app.resources import utc_now
from orchestrator.app.shared_models import edited_models
from orchestrator.catalog import Model
from orchestrator.catalog.licenses import forbidding_licenses, licenses_of, strictest_use
from orchestrator.catalog.publishing.accepted_licenses import AcceptedLicenses, LicenseRecord
from orchestrator.cli.authoring.model_completion import complete_model
from orchestrator.cli.authoring.own_models import OwnModels
from orchestrator.cli.service_access.recording import record_change
from orchestrator.cli.service_access.service_choice import read_service_settings
from orchestrator.cli.terminal.console import CliError, DataDirOption, JsonOption, print_json_or, print_rows
from orchestrator.cli.terminal.user_name import user_name
from orchestrator.settings import Settings

app = typer.Typer(help="What the licenses of models allow.", invoke_without_command=True)

COLUMNS = ("model", "use", "accepted", "license", "revenue_limit_usd", "attribution", "terms")
MAX_NOTE = 1000
ModelId = Annotated[str, typer.Argument(help="Id of a model.", autocompletion=complete_model)]
NoteOption = Annotated[
    str, typer.Option(help="Why, such as the number of your contract; kept with your name.")
]


@app.callback()
def main(context: typer.Context, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List what each model's licenses allow: commercial use, conditions, revenue limits, attribution.

    Models that may not be sold come first.
    """
    if context.invoked_subcommand is None:
        list_(data_dir, json)


@app.command("list")
def list_(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List what each model's licenses allow; the same as without a command."""
    settings = read_service_settings(data_dir)
    accepted = AcceptedLicenses(settings.published_path)
    rows = [row for model in OwnModels(settings).offered for row in _to_rows(model, accepted)]
    order = {"non-commercial": 0, "unknown": 1, "conditions": 2, "commercial": 3}
    rows.sort(key=lambda row: (order[row["use"]], row["model"]))
    print_rows(rows, COLUMNS, as_json=json)


@app.command()
def accept(
    id: ModelId,
    note: NoteOption,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Record that you have a license of the owner, so that the model may be sold."""
    if not note.strip() or len(note) > MAX_NOTE:
        raise CliError(f"--note must say why, in 1 to {MAX_NOTE} characters")
    settings = read_service_settings(data_dir)
    model = OwnModels(settings).offered[id]
    names = forbidding_licenses(model.manifest)
    if not names:
        raise CliError(f"the licenses of {model.id} allow commercial use; there is nothing to accept")
    _record(settings, model.id, names, note, as_json=json)


@app.command()
def revoke(id: ModelId, note: NoteOption, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Take back what `accept` has recorded."""
    settings = read_service_settings(data_dir)
    if AcceptedLicenses(settings.published_path).find(id) is None:
        raise CliError(f"no license of {id} is accepted; `pixelfactory licenses` lists them")
    _record(settings, id, (), note, as_json=json)


@app.command()
def history(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List who has accepted or revoked what, when and why; oldest first."""
    settings = read_service_settings(data_dir)
    rows = [
        {
            "at": record.at,
            "by": record.by,
            "model": record.model,
            "action": "accepted" if record.licenses else "revoked",
            "licenses": list(record.licenses),
            "note": record.note,
        }
        for record in AcceptedLicenses(settings.published_path).records()
    ]
    print_rows(rows, ("at", "by", "model", "action", "licenses", "note"), as_json=json)


def _record(settings: Settings, id: str, names: Sequence[str], note: str, *, as_json: bool) -> None:
    record = LicenseRecord(
        model=id,
        licenses=list(names),
        note=note.strip(),
        by=user_name(),
        at=utc_now().isoformat(timespec="seconds"),
    )
    with edited_models(settings):
        AcceptedLicenses(settings.published_path).add(record)
    action = "licenses.accept" if names else "licenses.revoke"
    record_change(settings, action, id, licenses=list(names), note=record.note)
    action = f"accepted {', '.join(names)}" if names else "revoked"
    row = {"model": id, "licenses": list(names), "note": record.note, "by": record.by, "at": record.at}
    print_json_or(f"{id}: {action}", row, as_json=as_json)


def _to_rows(model: Model, accepted: AcceptedLicenses) -> list[dict[str, Any]]:
    """Return a row for each license of a model; `use` is what all of them allow together."""
    missing = accepted.missing(model.manifest)
    forbidding = forbidding_licenses(model.manifest)
    return [
        {
            "model": model.id,
            "use": str(strictest_use(model.manifest)),
            "accepted": None if terms.name not in forbidding else "no" if terms.name in missing else "yes",
            "license": terms.name,
            "license_use": str(terms.use),
            "revenue_limit_usd": terms.revenue_limit_usd,
            "attribution": terms.attribution or None,
            "terms": terms.summary,
        }
        for terms in licenses_of(model.manifest)
    ]

"""`pixelfactory restore`: check a backup and put it into a data directory."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.app.backup_storage import locate_data, open_object_store
from orchestrator.app.resources import utc_now
from orchestrator.backup.restoring import RestoreOptions, RestoreReport, restore_backup
from orchestrator.cli.commands.backup import to_row, warn_about_objects
from orchestrator.cli.terminal.console import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    print_json_or,
    read_settings,
)


def restore(
    directory: Annotated[Path, typer.Argument(help="Directory of the backup.")],
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Replace data that are there; they are kept in a folder replaced-TIME."
        ),
    ] = False,
    skip_objects: Annotated[
        bool, typer.Option("--skip-objects", help="Do not look for the objects in object storage.")
    ] = False,
    ignore_audit: Annotated[
        bool, typer.Option("--ignore-audit", help="Restore even if the ledger violates accounting rules.")
    ] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Restore a backup, after checking all of it; changes nothing while a service uses the data directory.

    Objects that object storage lacks are uploaded if the backup has them; those that stay missing are listed.
    """
    settings = read_settings(data_dir, config)
    open_store = None if skip_objects else lambda: open_object_store(settings)
    options = RestoreOptions(replace=replace, ignore_audit=ignore_audit)
    report = asyncio.run(restore_backup(directory, locate_data(settings), utc_now(), open_store, options))
    warn_about_objects(
        "are missing, and the URLs of their jobs respond with 404: neither object storage nor the backup has"
        " them. Restore a backup that was made with --objects, or take them from a copy of the S3 server",
        _missing(report),
    )
    row = _to_row(report, directory, settings.data_dir)
    print_json_or(_describe(report, settings.data_dir), row, as_json=json)
    if report.violations:
        raise typer.Exit(1)


def _missing(report: RestoreReport) -> list[str]:
    return report.objects.missing if report.objects else []


def _to_row(report: RestoreReport, directory: Path, data_dir: Path) -> dict[str, Any]:
    return {
        **to_row(report.manifest, directory),
        "data_dir": str(data_dir.absolute()),
        "schema": report.schema[-1],
        "violations": [asdict(violation) for violation in report.violations],
        "objects": asdict(report.objects) if report.objects else None,
        "replaced": str(report.replaced) if report.replaced else None,
        "new_installation": report.is_new_installation,
    }


def _describe(report: RestoreReport, data_dir: Path) -> str:
    text = f"{data_dir} holds the backup of {report.manifest.created_at:%Y-%m-%d %H:%M:%S} UTC"
    if report.objects:
        found = report.objects
        text += f"; objects: {found.present} present, {found.uploaded} uploaded, {len(found.missing)} missing"
    text += (
        f"; {len(report.violations)} accounting rule(s) violated"
        if report.violations
        else "; ledger consistent"
    )
    return text + (f"; the earlier data are in {report.replaced}" if report.replaced else "")

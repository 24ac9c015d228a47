"""`pixelfactory backup`: copy database, secrets and, if wanted, objects, while the service runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.app.backup_storage import locate_data, open_object_store
from orchestrator.app.resources import utc_now
from orchestrator.backup.creating import create_backup
from orchestrator.backup.manifest import Manifest
from orchestrator.cli.service_access.service_choice import read_service_settings
from orchestrator.cli.terminal.console import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    print_json_or,
    print_warning,
)

#: Keys of objects that a warning names.
SHOWN_KEYS = 5


def backup(
    directory: Annotated[Path, typer.Argument(help="New or empty directory for the backup.")],
    objects: Annotated[
        bool, typer.Option("--objects", help="Copy the inputs and outputs from object storage as well.")
    ] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Back up the data directory, also while the service runs: database, secrets, list of objects.

    The backup holds secrets; it is readable by its owner only. It is complete when `manifest.json` is there.
    """
    settings = read_service_settings(data_dir, config)
    open_store = (lambda: open_object_store(settings)) if objects else None
    manifest = asyncio.run(create_backup(locate_data(settings), directory, utc_now(), open_store))
    warn_about_objects("are missing in object storage", manifest.objects.missing)
    warn_about_objects("are damaged in object storage and were not copied", manifest.objects.damaged)
    if manifest.objects.named and not objects and settings.s3_endpoint is None:
        print_warning(
            f"{manifest.objects.named} file(s) of jobs are not in the backup, and the embedded S3 server has"
            " them on the same disk as the database: add --objects, or copy s3/ of the data directory"
        )
    if names := settings.replaced_secret_files:
        print_warning(f"secrets of settings are not in a backup: {', '.join(names)}; keep them elsewhere")
    row = to_row(manifest, directory)
    print_json_or(
        f"{directory} holds {row['counts']['jobs']} job(s), {manifest.objects.named} named and"
        f" {manifest.objects.copied} copied object(s), schema {row['schema']}",
        row,
        as_json=json,
    )


def to_row(manifest: Manifest, directory: Path) -> dict[str, Any]:
    """Return what commands print about a backup."""
    return {
        "backup": str(directory.absolute()),
        "created_at": manifest.created_at.isoformat(),
        "version": manifest.version,
        "schema": manifest.schema_[-1],
        "counts": {"jobs": 0, **manifest.counts},
        "bytes": sum(file.size for file in manifest.files),
        "objects": manifest.objects.model_dump(),
    }


def warn_about_objects(what: str, keys: tuple[str, ...] | list[str]) -> None:
    """Print a warning that names the first keys; nothing if there are none."""
    if keys:
        shown = ", ".join(keys[:SHOWN_KEYS]) + (", ..." if len(keys) > SHOWN_KEYS else "")
        print_warning(f"{len(keys)} object(s) {what}: {shown}")

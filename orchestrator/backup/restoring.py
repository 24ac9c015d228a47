"""Restores a backup into a data directory: everything is checked first, then the files are replaced."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.backup.creating import OpenObjectStore
from orchestrator.backup.location import DataLocation
from orchestrator.backup.manifest import (
    DATABASE_NAME,
    MODELS_FOLDER,
    OBJECT_LIST_NAME,
    SECRETS_FOLDER,
    BackupError,
    Manifest,
    check_files,
    flush_directory,
    read_manifest,
    read_object_list,
)
from orchestrator.backup.models import compare_models, restore_models
from orchestrator.backup.objects import RestoredObjects, upload_missing_objects
from orchestrator.backup.unfinished import unfinished_mark
from orchestrator.files.data_directory import locked_data_directory
from orchestrator.files.private_files import create_private_directories, write_private
from orchestrator.jobs.objects import is_thumbnail
from orchestrator.store.schema import check_schema_known
from orchestrator.store.sqlite.migrations import MIGRATION_NAMES
from orchestrator.store.sqlite.snapshot import (
    SnapshotError,
    exclusive_access,
    find_installation_id,
    renew_installation_id,
    summarize_database,
    upgrade_and_audit,
)
from orchestrator.store.values import AuditViolation

#: Files that SQLite keeps beside a database.
_LOG_SUFFIXES = ("-wal", "-shm", "-journal")
_STAGING_PREFIX = ".restore-"


class LedgerInconsistent(BackupError):
    """The ledger of a backup violates accounting rules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreOptions:
    """What a restore may do."""

    #: Replace data that are in the data directory; they are kept in a folder of it.
    replace: bool = False
    #: Restore even if the ledger violates accounting rules.
    ignore_audit: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreReport:
    """What was restored."""

    manifest: Manifest
    #: Applied migrations of the restored database, oldest first.
    schema: Sequence[str]
    violations: Sequence[AuditViolation]
    #: None if the object store was not looked at.
    objects: RestoredObjects | None
    #: Folder with the data that were replaced.
    replaced: Path | None
    #: Whether the database is another installation than the backed-up one, which may still use the bucket.
    is_new_installation: bool


async def restore_backup(
    directory: Path,
    target: DataLocation,
    now: datetime,
    open_object_store: OpenObjectStore | None = None,
    options: RestoreOptions = RestoreOptions(),
) -> RestoreReport:
    """Restore the backup in `directory`; nothing is changed unless all of it is sound.

    With `open_object_store`, objects that are missing are uploaded from the backup. Raises BackupError,
    SnapshotError, UnknownSchema, DataDirectoryInUse, ObjectStoreError, OSError.
    """
    manifest = read_manifest(directory)
    check_schema_known(manifest.schema_, MIGRATION_NAMES)
    await asyncio.to_thread(check_files, directory, manifest)
    # Backups of earlier versions have no models: those of the target stay then.
    models = directory / MODELS_FOLDER if manifest.paths_in(MODELS_FOLDER) else None
    _require_free(target, models, options)
    create_private_directories(target.data_dir)
    create_private_directories(target.database.parent)
    present_id = find_installation_id(target.database)
    with (
        locked_data_directory(target.data_dir),
        exclusive_access(target.database),
        _staging_directory(target.database.parent) as staging,
    ):
        staged = staging / DATABASE_NAME
        violations = await asyncio.to_thread(_stage_database, directory / DATABASE_NAME, staged)
        if violations and not options.ignore_audit:
            raise LedgerInconsistent(
                f"the ledger in {directory} violates {len(violations)} accounting rule(s), first"
                f" {violations[0].rule} ({violations[0].subject}: {violations[0].detail}); use an earlier"
                " backup, or restore it as it is with --ignore-audit"
            )
        objects = await _restore_objects(directory, open_object_store) if open_object_store else None
        is_new = await asyncio.to_thread(_separate_installation, staged, present_id)
        schema = (await asyncio.to_thread(summarize_database, staged)).schema
        secrets = [directory / path for path in manifest.paths_in(SECRETS_FOLDER)]
        replaced = _replace_files(directory, target, staged, secrets, models=models, now=now)
    return RestoreReport(
        manifest=manifest,
        schema=schema,
        violations=violations,
        objects=objects,
        replaced=replaced,
        is_new_installation=is_new,
    )


async def _restore_objects(directory: Path, open_object_store: OpenObjectStore) -> RestoredObjects:
    # Earlier versions list thumbnails, which are made again when they are looked at.
    listed = read_object_list(directory / OBJECT_LIST_NAME)
    named = [one for one in listed if not is_thumbnail(one.key)]
    if not named:
        return RestoredObjects()
    async with open_object_store() as object_store:
        return await upload_missing_objects(object_store, named, directory)


def _require_free(target: DataLocation, models: Path | None, options: RestoreOptions) -> None:
    """Raise BackupError if there are data that may not be replaced."""
    found = [target.database] if target.database.exists() else []
    found += target.secrets
    if models is not None and target.models is not None:
        differences = compare_models(models, target.models)
        found += [target.models] if differences.changed or differences.removed else []
    if found and not options.replace:
        raise BackupError(
            f"{target.data_dir} holds data already ({', '.join(path.name for path in found)}); restore into a"
            " new directory with --data-dir, or pass --replace, which keeps the present data in a folder"
        )


def _stage_database(source: Path, staged: Path) -> list[AuditViolation]:
    """Copy the database, bring it up to date and return the violated rules of its ledger."""
    with source.open("rb") as reader, os.fdopen(_create_private(staged), "wb") as writer:
        shutil.copyfileobj(reader, writer)
    try:
        violations = upgrade_and_audit(staged)
    except SnapshotError as error:
        raise BackupError(f"the database of the backup cannot be used: {error}") from error
    _flush_file(staged)
    return violations


def _separate_installation(staged: Path, present_id: str | None) -> bool:
    """Make the database another installation unless it replaces the one that was backed up.

    An installation deletes objects of its bucket that none of its jobs needs. If the backed-up service still
    runs elsewhere, those include the results of all jobs after the backup.
    """
    backed_up_id = find_installation_id(staged)
    if backed_up_id is None or backed_up_id == present_id:
        return False
    renew_installation_id(staged)
    _flush_file(staged)
    return True


def _replace_files(
    directory: Path,
    target: DataLocation,
    staged: Path,
    secrets: Sequence[Path],
    *,
    models: Path | None,
    now: datetime,
) -> Path | None:
    """Put the files in place, and return the folder that keeps the old ones; None if there were none.

    No file system replaces several files at once. While this happens a mark keeps services and commands from
    opening the data, each file is replaced whole, and repeating the restore completes it.
    """
    mark = unfinished_mark(target.data_dir)
    write_private(mark, f"{directory.absolute()}\n")
    replaced = target.data_dir / f"replaced-{now:%Y%m%dT%H%M%S%fZ}"
    _keep_present_files(target, replaced)
    restored = {path.name for path in secrets}
    for path in secrets:
        write_private(target.data_dir / path.name, path.read_text("utf-8"))
    for path in target.secrets:
        if path.name not in restored:
            path.unlink()
    for suffix in _LOG_SUFFIXES:
        Path(f"{target.database}{suffix}").unlink(missing_ok=True)
    if models is not None and target.models is not None:
        restore_models(models, target.models, replaced / MODELS_FOLDER)
    staged.replace(target.database)
    flush_directory(target.database.parent)
    mark.unlink()
    flush_directory(target.data_dir)
    return replaced if replaced.exists() else None


def _keep_present_files(target: DataLocation, folder: Path) -> None:
    """Keep the present files in a new folder as well, while they stay where they are."""
    logs = [Path(f"{target.database}{suffix}") for suffix in _LOG_SUFFIXES]
    present = [path for path in (target.database, *logs, *target.secrets) if path.exists()]
    if not present:
        return
    folder.mkdir(mode=0o700)
    for path in present:
        try:
            (folder / path.name).hardlink_to(path)
        except OSError:  # another file system, or one without links
            shutil.copy2(path, folder / path.name)
    flush_directory(folder)


@contextmanager
def _staging_directory(parent: Path) -> Iterator[Path]:
    """Yield a new directory beside the database; it and left-over ones are removed."""
    for left_over in parent.glob(f"{_STAGING_PREFIX}*"):
        shutil.rmtree(left_over)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=parent))
    try:
        yield staging
    finally:
        with suppress(OSError):
            shutil.rmtree(staging)


def _flush_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _create_private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

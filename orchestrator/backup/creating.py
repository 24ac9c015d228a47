"""Makes a backup of a data directory, also while its service runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from orchestrator.backup.location import DataLocation
from orchestrator.backup.manifest import (
    DATABASE_NAME,
    MANIFEST_NAME,
    MODELS_FOLDER,
    OBJECT_LIST_NAME,
    SECRETS_FOLDER,
    BackupError,
    Manifest,
    ObjectCounts,
    describe_file,
    object_path,
    write_manifest,
    write_object_list,
)
from orchestrator.backup.models import copy_models
from orchestrator.backup.objects import copy_objects, list_caller_files
from orchestrator.backup.unfinished import require_finished_restore
from orchestrator.files.private_files import create_private_directories, write_private
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store.sqlite.snapshot import (
    NamedObject,
    SnapshotError,
    copy_database,
    list_named_objects,
    summarize_database,
)

OpenObjectStore = Callable[[], AbstractAsyncContextManager[ObjectStore]]


async def create_backup(
    source: DataLocation,
    directory: Path,
    now: datetime,
    open_object_store: OpenObjectStore | None = None,
) -> Manifest:
    """Write a backup into an empty directory, which is created; with `open_object_store` with the objects.

    The manifest is written last. Raises BackupError, RestoreUnfinished, ObjectStoreError, OSError; what was
    written so far stays, without a manifest.
    """
    require_finished_restore(source.data_dir)
    if not source.database.is_file():
        raise BackupError(f"there is nothing to back up: {source.database} does not exist")
    _make_empty_directory(directory)
    try:
        database = directory / DATABASE_NAME
        await asyncio.to_thread(copy_database, source.database, database)
        # After the database: it holds nothing then that a key file of the backup does not open.
        secrets = await asyncio.to_thread(_copy_secrets, source, directory / SECRETS_FOLDER)
        models = await asyncio.to_thread(_copy_models, source, directory)
        summary = await asyncio.to_thread(summarize_database, database)
        named = await asyncio.to_thread(list_named_objects, database)
        objects, counts = named, ObjectCounts(named=len(named))
        if open_object_store:
            async with open_object_store() as object_store:
                objects, counts = await _copy_objects(source, directory, named, object_store)
        write_object_list(directory / OBJECT_LIST_NAME, objects)
        copied = [path for one in objects if (path := object_path(directory, one.key)).is_file()]
        paths = [database, directory / OBJECT_LIST_NAME, *secrets, *models, *copied]
        manifest = Manifest(
            version=version("pixel-factory"),
            created_at=now,
            schema=tuple(summary.schema),
            counts=dict(summary.counts),
            objects=counts,
            files=tuple([await asyncio.to_thread(describe_file, directory, path) for path in paths]),
        )
        await asyncio.to_thread(write_manifest, directory, manifest)
    except (SnapshotError, BackupError) as error:
        raise BackupError(f"{error}; the backup in {directory} is not complete") from error
    return manifest


async def _copy_objects(
    source: DataLocation, directory: Path, named: list[NamedObject], object_store: ObjectStore
) -> tuple[list[NamedObject], ObjectCounts]:
    """Return all named objects and copied files of callers, with what was learned, and the counts."""
    files = await list_caller_files(object_store)
    found = await copy_objects(object_store, [*named, *files], directory)
    # A caller may have removed a job, or its files may have expired, since the database was copied.
    needed = {one.key for one in await asyncio.to_thread(list_named_objects, source.database)}
    missing = [key for key in sorted(found.missing) if key in needed]
    copied = {one.key: one for one in found.copied}
    kept = [copied[one.key] for one in files if one.key in copied]
    counts = ObjectCounts(
        named=len(named),
        copied=len(found.copied),
        copied_bytes=sum(one.size or 0 for one in found.copied),
        caller_files=len(kept),
        missing=tuple(missing),
        damaged=tuple(sorted(found.damaged)),
        deleted=len(found.missing) - len(missing),
    )
    return [*(copied.get(one.key, one) for one in named), *kept], counts


def _copy_models(source: DataLocation, directory: Path) -> list[Path]:
    return [] if source.models is None else copy_models(source.models, directory / MODELS_FOLDER)


def _make_empty_directory(directory: Path) -> None:
    """Create the directory for the owner only. Raises BackupError if it has files."""
    create_private_directories(directory)
    if any(directory.iterdir()):
        state = "a backup" if (directory / MANIFEST_NAME).exists() else "files, but no complete backup"
        raise BackupError(f"{directory} already holds {state}; choose a new or an empty directory")
    directory.chmod(0o700)


def _copy_secrets(source: DataLocation, folder: Path) -> list[Path]:
    folder.mkdir(mode=0o700)
    for path in source.secrets:
        write_private(folder / path.name, path.read_text("utf-8"))
    return sorted(folder.iterdir())

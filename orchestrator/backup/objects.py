"""Copies objects from the object store into a backup, and back."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.backup.manifest import object_path
from orchestrator.files.private_files import create_private_directories
from orchestrator.jobs.objects import CALLER_PREFIXES
from orchestrator.media.errors import ObjectNotFound
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store.sqlite.snapshot import NamedObject

#: Objects that are in memory at the same time.
_CONCURRENCY = 4
#: How long an upload is repeated while the object store is unavailable.
_UPLOAD_TIMEOUT_SECONDS = 60.0
_UNKNOWN_TYPE = "application/octet-stream"
#: Stands for the digest of an object that no row describes.
_UNKNOWN_DIGEST = ""
_PAGE = 1000


@dataclass(slots=True)
class CopiedObjects:
    """What was copied into a backup."""

    copied: list[NamedObject] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RestoredObjects:
    """What a restored database finds in its object store."""

    present: int = 0
    uploaded: int = 0
    missing: list[str] = field(default_factory=list)


async def list_caller_files(object_store: ObjectStore) -> list[NamedObject]:
    """Return the objects of callers that the database does not name; their digests are not known yet.

    Raises ObjectStoreError.
    """
    found: list[NamedObject] = []
    for prefix in CALLER_PREFIXES:
        next_page = object_store.list_objects(prefix)
        while page := await next_page(_PAGE):
            found += [NamedObject(key=one.key, sha256=_UNKNOWN_DIGEST) for one in page]
    return found


async def copy_objects(
    object_store: ObjectStore, objects: Iterable[NamedObject], directory: Path
) -> CopiedObjects:
    """Copy the objects into the backup and check their digests. Raises ObjectStoreError, OSError."""
    found = CopiedObjects()

    async def copy(named: NamedObject) -> None:
        try:
            stat = await object_store.stat(named.key)
            data = await object_store.get(named.key)
        except ObjectNotFound:
            found.missing.append(named.key)
            return
        digest = await asyncio.to_thread(_digest, data)
        if named.sha256 not in (digest, _UNKNOWN_DIGEST):
            found.damaged.append(named.key)
            return
        await asyncio.to_thread(_write_flushed, object_path(directory, named.key), data)
        content_type = named.content_type or stat.content_type
        found.copied.append(replace(named, sha256=digest, size=len(data), content_type=content_type))

    await _run_bounded(copy, objects)
    return found


async def upload_missing_objects(
    object_store: ObjectStore, objects: Sequence[NamedObject], directory: Path
) -> RestoredObjects:
    """Upload the objects that the object store lacks and the backup has; return what is missing afterwards.

    Raises ObjectStoreError, OSError.
    """
    await object_store.ensure_bucket(timeout=_UPLOAD_TIMEOUT_SECONDS)
    found = RestoredObjects()

    async def restore(named: NamedObject) -> None:
        if await _is_stored(object_store, named):
            found.present += 1
            return
        path = object_path(directory, named.key)
        if not path.is_file():
            found.missing.append(named.key)
            return
        data = await asyncio.to_thread(path.read_bytes)
        content_type = named.content_type or _UNKNOWN_TYPE
        await object_store.put_with_retry(named.key, data, content_type, timeout=_UPLOAD_TIMEOUT_SECONDS)
        found.uploaded += 1

    await _run_bounded(restore, objects)
    found.missing.sort()
    return found


async def _is_stored(object_store: ObjectStore, named: NamedObject) -> bool:
    try:
        stat = await object_store.stat(named.key)
    except ObjectNotFound:
        return False
    return named.size is None or stat.size == named.size


async def _run_bounded(
    work: Callable[[NamedObject], Awaitable[None]], objects: Iterable[NamedObject]
) -> None:
    """Run `work` for all objects, a few at a time; the first error ends it."""
    waiting = iter(objects)

    async def run_worker() -> None:
        for named in waiting:
            await work(named)

    async with asyncio.TaskGroup() as group:
        for _ in range(_CONCURRENCY):
            group.create_task(run_worker())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_flushed(path: Path, data: bytes) -> None:
    create_private_directories(path.parent)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

"""The manifest of a backup: what the directory holds, with sizes and digests.

It is written last, so a directory without one is a backup that was broken off.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from orchestrator.files.private_files import write_private
from orchestrator.store.sqlite.snapshot import NamedObject

MANIFEST_NAME = "manifest.json"
DATABASE_NAME = "pixelfactory.db"
OBJECT_LIST_NAME = "objects.jsonl"
SECRETS_FOLDER, OBJECTS_FOLDER, MODELS_FOLDER = "secrets", "objects", "models"
#: Raised when a backup is laid out differently; a newer one is refused.
FORMAT_VERSION = 1
_CHUNK_BYTES = 1024 * 1024
_NAMED_OBJECT: TypeAdapter[NamedObject] = TypeAdapter(NamedObject)


class BackupError(Exception):
    """A backup cannot be made, read or restored."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BackupFile(_Document):
    """A file of the backup."""

    #: Relative to the directory of the backup.
    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError("must be a path inside the backup")
        return value


class ObjectCounts(_Document):
    """The objects that the database names, and what became of them while they were copied."""

    named: int = 0
    copied: int = 0
    copied_bytes: int = 0
    #: Number of copied objects that no job names, such as files for callers' own graphs.
    caller_files: int = 0
    #: Keys that jobs need and the object store does not have.
    missing: tuple[str, ...] = ()
    #: Keys whose data do not have the recorded digest; they are not copied.
    damaged: tuple[str, ...] = ()
    #: Number of objects that were deleted while the backup was made.
    deleted: int = 0


class Manifest(_Document):
    """What a backup holds."""

    format: int = FORMAT_VERSION
    #: Version of the service that made the backup.
    version: str
    created_at: datetime
    #: Applied migrations of the database, oldest first.
    schema_: tuple[str, ...] = Field(alias="schema", min_length=1)
    counts: dict[str, int]
    objects: ObjectCounts
    files: tuple[BackupFile, ...]

    def paths_in(self, folder: str) -> list[str]:
        """Return the paths of the files below a folder of the backup."""
        return [file.path for file in self.files if file.path.startswith(f"{folder}/")]


def describe_file(directory: Path, path: Path) -> BackupFile:
    """Return the size and the digest of a file of the backup."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    relative = path.relative_to(directory).as_posix()
    return BackupFile(path=relative, size=path.stat().st_size, sha256=digest.hexdigest())


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest, after all other files of the backup were flushed to disk."""
    for folder in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
        flush_directory(folder)
    write_private(directory / MANIFEST_NAME, manifest.model_dump_json(by_alias=True, indent=2) + "\n")


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest. Raises BackupError if there is none, or none that this version understands."""
    path = directory / MANIFEST_NAME
    if not directory.is_dir():
        raise BackupError(f"backup not found: {directory}")
    if not path.is_file():
        raise BackupError(
            f"{directory} is no complete backup: it has no {MANIFEST_NAME}, which is written last;"
            " use an earlier backup"
        )
    try:
        text = path.read_text("utf-8")
        version = json.loads(text)["format"]
        if version != FORMAT_VERSION:
            raise BackupError(
                f"{path} has format {version!r}, this version reads format {FORMAT_VERSION};"
                " restore with the version that made the backup"
            )
        return Manifest.model_validate_json(text)
    except (ValidationError, ValueError, LookupError, TypeError) as error:
        raise BackupError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def check_files(directory: Path, manifest: Manifest) -> None:
    """Compare every file with its size and digest. Raises BackupError, which names files that differ."""
    wrong = []
    for file in manifest.files:
        path = directory / file.path
        if path.is_symlink() or not path.is_file():
            wrong.append(f"{file.path} is missing")
        elif path.stat().st_size != file.size:
            wrong.append(f"{file.path} has {path.stat().st_size} bytes instead of {file.size}")
        elif describe_file(directory, path) != file:
            wrong.append(f"{file.path} has another content than when the backup was made")
    required = {DATABASE_NAME, OBJECT_LIST_NAME} - {file.path for file in manifest.files}
    wrong += [f"{name} is not in the manifest" for name in sorted(required)]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise BackupError(f"{directory} is damaged: {'; '.join(wrong[:3])}{more}; use another backup")


def write_object_list(path: Path, objects: Iterable[NamedObject]) -> None:
    """Write one JSON object per line, with mode 0600."""
    lines = (json.dumps(asdict(named)) + "\n" for named in objects)
    write_private(path, "".join(lines))


def read_object_list(path: Path) -> list[NamedObject]:
    """Read the list of objects. Raises BackupError."""
    try:
        return [_NAMED_OBJECT.validate_json(line) for line in path.read_text("utf-8").splitlines()]
    except (ValidationError, ValueError) as error:
        raise BackupError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def object_path(directory: Path, key: str) -> Path:
    """Return where the backup keeps the object. Raises BackupError for a key that leads elsewhere."""
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise BackupError(f"the key {key!r} of an object is not a path inside the backup")
    return directory / OBJECTS_FOLDER / path


def flush_directory(directory: Path) -> None:
    """Flush the entries of a directory to disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

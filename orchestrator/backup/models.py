"""Copies published models, with their drafts, versions and price classes, into a backup, and back."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalog.publishing.directory_lock import exclusive_lock, shared_lock
from orchestrator.catalog.publishing.shared_directory import list_shared_files
from orchestrator.catalog.publishing.version_files import VersionFiles
from orchestrator.files.atomic_files import write_atomically
from orchestrator.files.private_files import create_private_directories


@dataclass(frozen=True, slots=True)
class ModelDifferences:
    """What makes the models of a directory differ from those of a backup; paths of files."""

    #: In the backup only.
    new: list[str]
    #: With another content in the directory.
    changed: list[str]
    #: In the directory only.
    removed: list[str]


def copy_models(directory: Path, folder: Path) -> list[Path]:
    """Copy the files of a directory of models, while no process changes them, and return the copies.

    Raises OSError.
    """
    copied = []
    if directory.is_dir() and os.access(directory, os.W_OK):
        VersionFiles(directory).finish_pending()
    with shared_lock(directory):
        for path in list_shared_files(directory):
            copy = folder / path
            create_private_directories(copy.parent)
            shutil.copyfile(directory / path, copy)
            copied.append(copy)
    for copy in copied:
        with copy.open("rb") as file:
            os.fsync(file.fileno())
    return copied


def compare_models(folder: Path, directory: Path) -> ModelDifferences:
    """Compare the models of a backup, in `folder`, with those of a directory; either may be missing."""
    backed_up, present = set(list_shared_files(folder)), set(list_shared_files(directory))
    both = sorted(backed_up & present)
    return ModelDifferences(
        new=sorted(backed_up - present),
        changed=[path for path in both if _digest(folder / path) != _digest(directory / path)],
        removed=sorted(present - backed_up),
    )


def restore_models(folder: Path, directory: Path, replaced: Path) -> None:
    """Put the models of a backup in place of those of a directory, which are kept below `replaced`.

    Raises OSError.
    """
    differences = compare_models(folder, directory)
    if differences == ModelDifferences([], [], []):
        return
    with exclusive_lock(directory):
        for path in (*differences.changed, *differences.removed):
            create_private_directories((replaced / path).parent)
            shutil.copyfile(directory / path, replaced / path)
        for path in differences.removed:
            (directory / path).unlink()
            if not any((directory / path).parent.iterdir()):
                (directory / path).parent.rmdir()
        for path in (*differences.new, *differences.changed):
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(directory / path) as file:
                file.write((folder / path).read_bytes())


def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()

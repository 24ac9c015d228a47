"""The files of the versions of models: drafts, what is kept of each version, and the live folders.

DIRECTORY/ID/                       live: `model.toml`, `graph.json`, and further files
DIRECTORY/.drafts/ID/               the draft, which its author may edit
DIRECTORY/.versions/ID/DIGEST/      every version that was live or saved as a draft, unchanged
DIRECTORY/.versions/ID/record.json  owner, live version, draft and history
DIRECTORY/.versions/ID/pending      digest of the version whose files are being made live
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.manifest import ID_PATTERN
from orchestrator.catalog.publishing.directory_lock import exclusive_lock, shared_lock
from orchestrator.catalog.publishing.records import ModelRecord
from orchestrator.files.atomic_files import write_atomically

DRAFTS_FOLDER = ".drafts"
VERSIONS_FOLDER = ".versions"
#: Name of the account by which operators call drafts, and the file with its id.
OPERATORS_ACCOUNT_NAME = "operators"
OPERATORS_NAME = ".operators-account"
RECORD_NAME = "record.json"
_PENDING_NAME = "pending"
#: Beginning of the names of folders that are being written or deleted.
STAGING_PREFIX = ".staging-"

MAX_ID_LENGTH = 100
MANIFEST_NAME = "model.toml"
GRAPH_NAME = "graph.json"


def digest_of(files: Mapping[str, str]) -> str:
    """Return the version of a model with these files, the same as `Model.digest`."""
    return hashlib.sha256(f"{files[MANIFEST_NAME]}\0{files[GRAPH_NAME]}".encode()).hexdigest()


def is_model_id(id: str) -> bool:
    """Return whether a text can be the id of a model, and so the name of a folder."""
    return re.fullmatch(ID_PATTERN, id) is not None and len(id) <= MAX_ID_LENGTH


class VersionFiles:
    """Reads and writes the files. Callers hold the lock of the directory while they write."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def live_folder(self, id: str) -> Path:
        return self.directory / id

    def draft_folder(self, id: str) -> Path:
        return self.directory / DRAFTS_FOLDER / id

    def version_folder(self, id: str, version: str) -> Path:
        return self._history_folder(id) / version

    def list_drafts(self) -> list[Path]:
        """Return the folders of all drafts."""
        found = (self.directory / DRAFTS_FOLDER).glob(f"*/{MANIFEST_NAME}")
        return sorted(manifest.parent for manifest in found)

    def list_versions(self, id: str) -> list[str]:
        """Return the digests of all versions that are kept."""
        return sorted(
            manifest.parent.name for manifest in self._history_folder(id).glob(f"*/{MANIFEST_NAME}")
        )

    def list_recorded(self) -> list[str]:
        """Return the ids of all models with a history."""
        records = (self.directory / VERSIONS_FOLDER).glob(f"*/{RECORD_NAME}")
        return sorted(record.parent.name for record in records)

    def record_file(self, id: str) -> Path:
        return self._history_folder(id) / RECORD_NAME

    def read_record(self, id: str) -> ModelRecord:
        """Return the record of a model, an empty one if it has none. Raises CatalogError."""
        file = self.record_file(id)
        try:
            return ModelRecord.from_json(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return ModelRecord()
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise CatalogError(f"cannot be read: {error}", file=file) from error

    def write_record(self, id: str, record: ModelRecord) -> None:
        """Raises OSError."""
        self._history_folder(id).mkdir(parents=True, exist_ok=True)
        with write_atomically(self.record_file(id)) as file:
            file.write(json.dumps(record.to_json(), indent=1).encode())

    def read_operators_account(self) -> str | None:
        """Return the account whose keys may call every draft; None if there is none."""
        try:
            return self.operators_file.read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    def write_operators_account(self, account_id: str) -> None:
        """Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with write_atomically(self.operators_file) as file:
            file.write(account_id.encode())

    @property
    def operators_file(self) -> Path:
        return self.directory / OPERATORS_NAME

    def keep_version(self, id: str, files: Mapping[str, str]) -> str:
        """Keep a version and return its digest. Further files of one that is kept are replaced.

        Raises OSError.
        """
        version = digest_of(files)
        folder = self.version_folder(id, version)
        if not folder.is_dir():
            self._write_folder(folder, files)
            return version
        for name in files.keys() - {MANIFEST_NAME, GRAPH_NAME}:
            with write_atomically(folder / name) as file:
                file.write(files[name].encode("utf-8"))
        return version

    def write_draft(self, id: str, files: Mapping[str, str]) -> None:
        """Write the draft of a model in place of the earlier one. Raises OSError."""
        self.delete_draft(id)
        self._write_folder(self.draft_folder(id), files)

    def delete_draft(self, id: str) -> None:
        """Raises OSError."""
        self._delete_folder(self.draft_folder(id))

    def make_live(self, id: str, version: str) -> None:
        """Replace the live files by those of a version that is kept.

        If this process ends meanwhile, `finish_pending` completes it. Raises OSError.
        """
        with write_atomically(self._pending_file(id)) as file:
            file.write(version.encode())
        self._delete_folder(self.live_folder(id))
        self._write_folder(self.live_folder(id), read_files(self.version_folder(id, version)))
        self._pending_file(id).unlink()

    def delete_live(self, id: str) -> None:
        """Raises OSError."""
        self._delete_folder(self.live_folder(id))

    def finish_pending(self) -> None:
        """Complete what a process that ended while it published has begun. Takes the lock if necessary.

        Raises OSError, CatalogError.
        """
        if self._list_pending():
            with exclusive_lock(self.directory):
                self.finish_pending_locked()

    def finish_pending_locked(self) -> None:
        """Do the same for a caller that has the lock."""
        for file in self._list_pending():
            version = file.read_text()
            if self.version_folder(file.parent.name, version).is_dir():
                self.make_live(file.parent.name, version)
            else:
                # The version was deleted by hand.
                file.unlink()

    def read_live(self, id: str) -> dict[str, str] | None:
        """Return the live files; None if the directory has none. Raises CatalogError."""
        folder = self.live_folder(id)
        return read_files(folder) if (folder / MANIFEST_NAME).exists() else None

    def read_draft(self, id: str) -> dict[str, str] | None:
        """Return the files of the draft; None without one. Raises CatalogError."""
        folder = self.draft_folder(id)
        return read_files(folder) if (folder / MANIFEST_NAME).exists() else None

    def read_version(self, id: str, version: str) -> dict[str, str] | None:
        """Return the files of a version; None if it is not kept. Raises CatalogError."""
        with shared_lock(self.directory):
            folder = self.version_folder(id, version)
            return read_files(folder) if folder.is_dir() else None

    def _list_pending(self) -> list[Path]:
        return sorted((self.directory / VERSIONS_FOLDER).glob(f"*/{_PENDING_NAME}"))

    def _history_folder(self, id: str) -> Path:
        return self.directory / VERSIONS_FOLDER / id

    def _pending_file(self, id: str) -> Path:
        return self._history_folder(id) / _PENDING_NAME

    def _write_folder(self, folder: Path, files: Mapping[str, str]) -> None:
        """Write a new folder, completely or not at all."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=self.directory) as staging:
            made = Path(staging) / folder.name
            made.mkdir()
            for name, text in files.items():
                (made / name).write_text(text, encoding="utf-8")
            made.rename(folder)

    def _delete_folder(self, folder: Path) -> None:
        """Delete a folder, if it exists, so that no reader sees it in part."""
        if not folder.exists():
            return
        with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=self.directory) as staging:
            folder.rename(Path(staging) / folder.name)


def finish_pending(directory: Path | None) -> None:
    """Complete what was begun in a directory that can be written. Raises OSError, CatalogError."""
    if directory is not None and os.access(directory, os.W_OK):
        VersionFiles(directory).finish_pending()


def read_files(folder: Path) -> dict[str, str]:
    """Return the texts of the files of a model's folder. Raises CatalogError."""
    try:
        return {
            file.name: file.read_text(encoding="utf-8") for file in sorted(folder.iterdir()) if file.is_file()
        }
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"cannot be read: {error}", file=folder) from error

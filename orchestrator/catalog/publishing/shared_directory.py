"""A directory of published models that is a copy: the database has the files, for all processes.

Each process keeps its copy current. A change is made to a copy of one model, stored in the database, and then
made in the directory: what could not be stored has not happened. What an operator edits there is stored
too, unless another process has changed the same file since.

DIRECTORY/.shared.json names the files as they were when directory and database last agreed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orchestrator.catalog.manifest import ID_PATTERN
from orchestrator.catalog.publishing.accepted_licenses import ACCEPTED_NAME
from orchestrator.catalog.publishing.directory_lock import exclusive_lock
from orchestrator.catalog.publishing.version_files import (
    DRAFTS_FOLDER,
    OPERATORS_NAME,
    RECORD_NAME,
    STAGING_PREFIX,
    VERSIONS_FOLDER,
    VersionFiles,
)
from orchestrator.files.atomic_files import write_atomically

log = logging.getLogger(__name__)

STATE_NAME = ".shared.json"
#: File of own price classes.
PRICES_NAME = "prices.toml"
#: Larger files are left where they are; graphs and pictures of models are smaller.
MAX_FILE_BYTES = 32 * 1024 * 1024
_ID = f"(?:{ID_PATTERN.strip('^$')})"
_FILE = r"[^/\x00]*[^/\x00.][^/\x00]*"
_SHARED_PATHS = re.compile(
    rf"(?:{re.escape(PRICES_NAME)}|{re.escape(OPERATORS_NAME)}|{re.escape(ACCEPTED_NAME)}"
    rf"|(?:{re.escape(DRAFTS_FOLDER)}/)?{_ID}/{_FILE}"
    rf"|{re.escape(VERSIONS_FOLDER)}/{_ID}/(?:{re.escape(RECORD_NAME)}|[0-9a-f]{{64}}/{_FILE}))"
)


class SharedRows(Protocol):
    """The files in the database, within a transaction that keeps other processes from them."""

    id: str
    revision: int

    def list(self) -> dict[str, str]:
        """Return the SHA-256 of each file by path."""
        ...

    def read(self, path: str) -> bytes: ...

    def change(self, written: Mapping[str, bytes], deleted: set[str]) -> None:
        """Write and delete files, as the next revision."""
        ...


class SharedFiles(Protocol):
    """The files in the database."""

    def prepare(self) -> None:
        """Bring the database up to date."""
        ...

    def changing(self) -> AbstractContextManager[SharedRows]:
        """Begin a transaction; the end of the block commits it."""
        ...


@dataclass(frozen=True, slots=True)
class Agreed:
    """What directory and database had in common when they were last compared."""

    id: str = ""
    revision: int = -1
    #: SHA-256 by path.
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """What makes directory and database agree."""

    #: Paths that the directory takes from the database, and those that it loses.
    taken: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    #: Paths that the database takes from the directory, and those that it loses.
    stored: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    #: Paths that were changed in both; the directory takes those of the database.
    conflicts: set[str] = field(default_factory=set)


def plan_merge(agreed: Mapping[str, str], local: Mapping[str, str], stored: Mapping[str, str]) -> Merge:
    """Compare directory and database with what they last had in common; each maps paths to digests."""
    merge = Merge()
    for path in agreed.keys() | local.keys() | stored.keys():
        before, here, there = agreed.get(path), local.get(path), stored.get(path)
        if here == there:
            continue
        if here == before or (there != before and there is not None):
            (merge.dropped if there is None else merge.taken).add(path)
            if here not in (before, None):
                merge.conflicts.add(path)
        else:
            (merge.deleted if here is None else merge.stored).add(path)
    return merge


class SharedDirectory:
    """Keeps a directory equal to the files in the database, and changes both. Methods read and write files.

    All methods raise OSError, and ServiceUnavailable while the database cannot be used.
    """

    def __init__(self, directory: Path, files: SharedFiles, earlier: Path | None = None) -> None:
        """`earlier` is where models were published before the database had any: it takes them."""
        self.directory = directory
        self._earlier = earlier
        self._files = files
        self._known = Agreed()
        #: Digest of each file by path, with its time, size and inode.
        self._digests: dict[str, tuple[tuple[int, int, int], str]] = {}

    @property
    def version(self) -> tuple[str, int]:
        """The id and the revision of the files that the directory had when this process last looked."""
        return self._known.id, self._known.revision

    def prepare(self) -> None:
        """Bring database and directory up to date. Raises SettingsError, UnknownSchema too."""
        self._files.prepare()
        self.synchronize()

    def synchronize(self) -> None:
        """Take what other processes have changed, and store what was edited by hand."""
        with exclusive_lock(self.directory):
            with self._files.changing() as rows:
                agreed = self._merge(rows)
            self._write_agreed(agreed)

    @contextmanager
    def changing(self, id: str | None = None) -> Iterator[Path]:
        """Yield a directory with a model and its versions; what is changed there is changed in all copies."""
        with exclusive_lock(self.directory):
            with (
                self._files.changing() as rows,
                tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=self.directory) as staging,
            ):
                self._merge(rows)
                copy = Path(staging)
                self._copy_model(id, copy)
                before = {path: _digest(copy / path) for path in list_shared_files(copy)}
                yield copy
                after = {path: (copy / path).read_bytes() for path in list_shared_files(copy)}
                digests = {path: hashlib.sha256(content).hexdigest() for path, content in after.items()}
                written = {path: after[path] for path in after if digests[path] != before.get(path)}
                deleted = before.keys() - after.keys()
                if written or deleted:
                    rows.change(written, set(deleted))
                agreed = Agreed(rows.id, rows.revision, rows.list())
            self._apply(written, deleted)
            self._write_agreed(agreed)

    def _merge(self, rows: SharedRows) -> Agreed:
        """Make directory and database agree. The directory takes only what is committed."""
        VersionFiles(self.directory).finish_pending_locked()
        if rows.revision == 0 and self._earlier is not None:
            self._copy_published(self._earlier)
        agreed = self._read_agreed()
        if agreed.id != rows.id:
            agreed = Agreed()
        local, stored = self._scan(), rows.list()
        merge = plan_merge(agreed.files, local, stored)
        for path in sorted(merge.conflicts):
            log.warning("%s was changed in another process too: its version is taken", self.directory / path)
        if merge.stored or merge.deleted:
            written = {path: (self.directory / path).read_bytes() for path in merge.stored}
            rows.change(written, merge.deleted)
        self._apply({path: rows.read(path) for path in sorted(merge.taken)}, merge.dropped)
        return Agreed(rows.id, rows.revision, rows.list())

    def _apply(self, written: Mapping[str, bytes], deleted: set[str]) -> None:
        """Change the directory."""
        for path, content in written.items():
            if not _SHARED_PATHS.fullmatch(path):
                continue
            file = self.directory / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(file) as opened:
                opened.write(content)
        for path in deleted:
            (self.directory / path).unlink(missing_ok=True)
        for folder in {(self.directory / path).parent for path in deleted}:
            if folder != self.directory and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _copy_model(self, id: str | None, copy: Path) -> None:
        files = VersionFiles(self.directory)
        if id is not None:
            for folder in (files.live_folder(id), files.draft_folder(id), files.record_file(id).parent):
                if folder.is_dir():
                    shutil.copytree(folder, copy / folder.relative_to(self.directory))
        if files.operators_file.exists():
            shutil.copy2(files.operators_file, copy)

    def _copy_published(self, earlier: Path) -> None:
        """Copy what was published in another directory, and leave models that were put there by hand."""
        published = {*VersionFiles(earlier).list_recorded(), PRICES_NAME}
        for path in list_shared_files(earlier):
            file = self.directory / path
            if (path.startswith(".") or path.split("/")[0] in published) and not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(earlier / path, file)

    def _scan(self) -> dict[str, str]:
        """Return the digests of the directory's files by path; only those that changed are read."""
        found: dict[str, tuple[tuple[int, int, int], str]] = {}
        for path in list_shared_files(self.directory):
            stat = (self.directory / path).stat()
            mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            known = self._digests.get(path)
            digest = known[1] if known and known[0] == mark else _digest(self.directory / path)
            found[path] = mark, digest
        self._digests = found
        return {path: digest for path, (_, digest) in found.items()}

    def _read_agreed(self) -> Agreed:
        try:
            data = json.loads((self.directory / STATE_NAME).read_text(encoding="utf-8"))
            return Agreed(str(data["id"]), int(data["revision"]), dict(data["files"]))
        except (OSError, ValueError, LookupError, TypeError):
            return Agreed()

    def _write_agreed(self, agreed: Agreed) -> None:
        self._known = agreed
        if agreed == self._read_agreed():
            return
        data = {"id": agreed.id, "revision": agreed.revision, "files": dict(agreed.files)}
        with write_atomically(self.directory / STATE_NAME) as file:
            file.write(json.dumps(data, indent=0, sort_keys=True).encode())


def list_shared_files(directory: Path) -> list[str]:
    """Return the paths of the files of models, drafts, versions and price classes, sorted."""
    folders = ("*", "*/*", f"{DRAFTS_FOLDER}/*/*", f"{VERSIONS_FOLDER}/*/*", f"{VERSIONS_FOLDER}/*/*/*")
    paths = {
        file.relative_to(directory).as_posix(): file for each in folders for file in directory.glob(each)
    }
    return sorted(path for path, file in paths.items() if _SHARED_PATHS.fullmatch(path) and _is_small(file))


def _is_small(file: Path) -> bool:
    if not file.is_file() or file.name.endswith(".new"):
        return False
    if file.stat().st_size <= MAX_FILE_BYTES:
        return True
    log.warning("%s is larger than %d bytes: other processes do not get it", file, MAX_FILE_BYTES)
    return False


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()

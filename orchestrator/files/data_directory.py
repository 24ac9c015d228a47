"""The data directory: private, and used by one service at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from orchestrator.files.private_files import make_file_private, make_private_directory, make_tree_private
from orchestrator.files.secret_box import KEY_FILE_NAME
from orchestrator.logs import hide_secrets_in
from orchestrator.settings import Settings

LOCK_NAME = "service.lock"
#: A killed service frees the lock within milliseconds; its supervisor may start the next one at once.
WAIT_SECONDS = 2.0
#: Characters of a command line that are kept.
MAX_COMMAND = 300
#: What SQLite keeps beside a database.
DATABASE_SUFFIXES = ("", "-wal", "-shm", "-journal")
#: Files and folders of the data directory that a service makes, besides the database.
_OWN_FILES = ("admin-token", "session-secret", KEY_FILE_NAME, LOCK_NAME)
_OWN_FOLDERS = ("s3", "instances")


class DataDirectoryInUse(Exception):
    """Another service, or a restore, has the data directory or the database locked."""


@contextmanager
def locked_data_directory(directory: Path) -> Iterator[None]:
    """Hold the lock of the data directory, which is created if it does not exist.

    The kernel frees it when this process ends, however it ends. Commands that only use the database need no
    lock. Raises DataDirectoryInUse, SettingsError for a directory that all users share, OSError.
    """
    make_private_directory(directory)
    path = directory / LOCK_NAME
    make_file_private(path, create=True)
    with path.open("r+b") as file:
        if not _acquire(file):
            raise DataDirectoryInUse(
                f"{directory} is in use by another process: {_read_holder(file)}; stop it first, or"
                " choose another directory with --data-dir"
            )
        _write_holder(file)
        yield


@contextmanager
def locked_database(path: Path) -> Iterator[None]:
    """Hold a lock of the database itself, which services with other data directories may be set to as well.

    SQLite's own locks are of another kind (`fcntl`), so commands can use the database meanwhile. Raises
    DataDirectoryInUse, OSError.
    """
    make_database_private(path, create=True)
    with path.open("rb") as file:
        if not _acquire(file):
            raise DataDirectoryInUse(
                f"the database {path} is in use by another service: {_find_lock_holder(file)}; stop it first,"
                " or choose another database with PIXELFACTORY_DATABASE_URL"
            )
        yield


def make_data_private(settings: Settings) -> None:
    """Take the access of other users away from what earlier versions left in the data directory.

    Other files there, and the directory of a database elsewhere, are left as they are. Raises SettingsError,
    OSError.
    """
    directory = settings.data_dir
    make_private_directory(directory)
    for name in _OWN_FILES:
        make_file_private(directory / name)
    for folder in (*(directory / name for name in _OWN_FOLDERS), *directory.glob("replaced-*")):
        if folder.is_dir() and not folder.is_symlink():
            make_tree_private(folder)
    if settings.postgres_url is None:
        make_database_private(settings.database_path)


def make_database_private(path: Path, *, create: bool = False) -> None:
    """Take the access of other users to a database away; with `create`, create it in a private folder.

    SQLite gives the files that it makes beside the database the mode of the database.
    """
    make_file_private(path, create=create)
    for suffix in DATABASE_SUFFIXES:
        make_file_private(path.with_name(f"{path.name}{suffix}"))


def _acquire(file: BinaryIO) -> bool:
    """Lock a file; return False if another process still has it after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _find_lock_holder(file: BinaryIO) -> str:
    """Return which process has a file locked, from the kernel's list of locks."""
    inode = os.fstat(file.fileno()).st_ino
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and int(fields[5].rpartition(":")[2]) == inode:
                return f"process {fields[4]}"
    return "its process id is unknown"


def _write_holder(file: BinaryIO) -> None:
    command = hide_secrets_in(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))[:MAX_COMMAND]
    since = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):  # a full disk: the lock holds nevertheless
        file.seek(0)
        file.truncate()
        file.write(json.dumps({"pid": os.getpid(), "command": command, "since": since}).encode())
        file.flush()


def _read_holder(file: BinaryIO) -> str:
    with suppress(ValueError, LookupError, TypeError):
        file.seek(0)
        holder = json.loads(file.read())
        return f"process {holder['pid']} ({holder['command']}), since {holder['since']}"
    return "it has not written its process id yet"

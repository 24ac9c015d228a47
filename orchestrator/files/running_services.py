"""Which services of this user run: each keeps a file locked while it runs, by which commands find it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.files.private_files import create_private_directories
from orchestrator.files.user_directories import find_state_directory

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningRecord:
    """A service that runs."""

    url: str
    data_dir: str
    #: The file that it was started with; empty for none.
    config: str
    pid: int


def running_directory() -> Path | None:
    """Return the directory of the files of running services; None for a user without a home directory."""
    state = find_state_directory()
    return None if state is None else state / "running"


@contextmanager
def announce_service(url: str, data_dir: Path, config: Path | None = None) -> Iterator[None]:
    """Let commands find this service until the block ends; the kernel frees the lock however that is.

    A service whose file cannot be written, for example without a home directory, runs nevertheless.
    """
    record = RunningRecord(
        url=url,
        data_dir=str(data_dir.resolve()),
        config=str(config.resolve()) if config is not None else "",
        pid=os.getpid(),
    )
    try:
        file, path = _write_locked(running_directory(), json.dumps(asdict(record)).encode())
    except OSError as error:
        log.info("commands need --data-dir and --url to find this service: %s", error)
        yield
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def list_running_services() -> list[RunningRecord]:
    """Return the services of this user that run; files that a killed one has left are deleted."""
    directory = running_directory()
    with suppress(OSError):
        paths = sorted(directory.glob("*.json")) if directory is not None else []
        found = [_read_locked(path) for path in paths]
        return [record for record in found if record is not None]
    return []


def _write_locked(directory: Path | None, content: bytes) -> tuple[BinaryIO, Path]:
    """Write a file that is locked before others can read it."""
    if directory is None:
        raise OSError("this user has no home directory")
    create_private_directories(directory)
    name = secrets.token_hex(8)
    draft, path = directory / f".{name}.new", directory / f"{name}.json"
    file = os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(content)
        file.flush()
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        file.close()
        raise
    return file, path


def _read_locked(path: Path) -> RunningRecord | None:
    """Return the record of a service; None if it has ended, and its file is deleted then."""
    with suppress(OSError, ValueError, TypeError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return RunningRecord(**json.loads(file.read()))
        path.unlink(missing_ok=True)
    return None

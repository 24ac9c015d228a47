"""A lock of the directory of published models, between the processes that read and write it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_NAME = ".lock"


@contextmanager
def exclusive_lock(directory: Path) -> Iterator[None]:
    """Keep other processes from reading and writing the models. Creates the directory. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK_NAME).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def shared_lock(directory: Path | None) -> Iterator[None]:
    """Keep other processes from writing the models meanwhile.

    Without a lock file nothing was ever published there, and a reader needs no permission to write.
    """
    try:
        file = None if directory is None else (directory / LOCK_NAME).open("rb")
    except OSError:
        file = None
    if file is None:
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield

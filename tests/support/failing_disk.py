"""A service whose database cannot be written for a while: a full disk, or a limit on the size of files."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from tests.support.cli import command
from tests.support.service import ServiceProcess

#: Below the size at which SQLite uses its log again from the start: each write needs new space.
SMALL_DISK_BYTES = 3 * 2**20


@dataclass
class ServiceOnOtherDisk(ServiceProcess):
    """A service whose database is not in its data directory."""

    database: Path | None = None

    def __post_init__(self) -> None:
        self.environment = {**self.environment, "PIXELFACTORY_DATABASE_URL": self._url}

    @property
    def _url(self) -> str:
        return f"sqlite:///{self.database}"

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return command(
            *arguments,
            PIXELFACTORY_DATA_DIR=str(self.data_dir),
            PIXELFACTORY_DATABASE_URL=self._url,
        )


@contextmanager
def small_disk(directory: Path, size: int = SMALL_DISK_BYTES) -> Iterator[Path]:
    """Mount a file system of `size` bytes; skip the test where that is not permitted."""
    directory.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(directory)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a small file system: {error}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


class StoreFailure(Protocol):
    """Keeps a running service from writing to its database."""

    def begin(self, service: ServiceProcess) -> None: ...

    def end(self, service: ServiceProcess) -> None: ...


class FullDisk:
    """Fills the file system of the database: SQLite says that it is full."""

    def __init__(self, directory: Path) -> None:
        self._ballast = directory / "ballast"

    def begin(self, service: ServiceProcess) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def end(self, service: ServiceProcess) -> None:
        self._ballast.unlink(missing_ok=True)


class FileSizeLimit:
    """Forbids the process to let a file grow: SQLite reports an I/O error."""

    def begin(self, service: ServiceProcess) -> None:
        self._set_limit(service, 1)

    def end(self, service: ServiceProcess) -> None:
        self._set_limit(service, resource.RLIM_INFINITY)

    @staticmethod
    def _set_limit(service: ServiceProcess, size: int) -> None:
        process = service.process
        if process is None or process.poll() is not None:
            return
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        if size == resource.RLIM_INFINITY:
            # Instances that were started meanwhile have the limit of the service.
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(ProcessLookupError):
                    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def ending(failure: StoreFailure, service: ServiceProcess) -> Iterator[None]:
    """End the failure, which the block begins, when the block is left."""
    try:
        yield
    finally:
        failure.end(service)

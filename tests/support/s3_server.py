"""A real S3 server for tests: the embedded one, which all tests of a run share."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from orchestrator.storage.embedded_server import EmbeddedS3, read_access
from orchestrator.storage.object_store import S3Config
from orchestrator.storage.seaweedfs import SeaweedFSDirectory

T = TypeVar("T")


@dataclass
class S3Server:
    """The server of a directory, which another process may have started."""

    directory: Path

    @property
    def endpoint(self) -> str:
        return self.access("any").endpoint

    @property
    def pid(self) -> int:
        return int(SeaweedFSDirectory(self.directory).pid_file.read_text())

    def access(self, bucket: str) -> S3Config:
        config = read_access(self.directory, bucket)
        assert config is not None, "the server has not been started"
        return config


class OwnS3Server(S3Server):
    """A server of this process. Its methods wait; from a coroutine call them through `asyncio.to_thread`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="s3-server", daemon=True)
        self._thread.start()
        self._embedded = EmbeddedS3(directory)

    def start(self) -> None:
        self._run(self._embedded.start())

    def stop(self) -> None:
        self._run(self._embedded.stop())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@contextmanager
def running_s3(directory: Path) -> Iterator[OwnS3Server]:
    server = OwnS3Server(directory)
    try:
        server.start()
        yield server
    finally:
        server.close()


#: Where the server of the whole run is, for the workers of pytest-xdist.
DIRECTORY = "TESTS_S3_DIRECTORY"
_shared = ExitStack()


@cache
def start_shared_s3() -> S3Server:
    """Return the server that all tests of this run share, started at the first call.

    With several workers their parent starts it before them, because six idle servers take more CPU than one.
    """
    if directory := os.environ.get(DIRECTORY):
        return S3Server(Path(directory))
    created = Path(_shared.enter_context(tempfile.TemporaryDirectory(prefix="pf-s3-")))
    return _shared.enter_context(running_s3(created))


def share_s3_with_workers() -> None:
    """Start the server of the run, for the workers that this process starts later."""
    os.environ[DIRECTORY] = str(start_shared_s3().directory)


def stop_shared_s3() -> None:
    """Stop the shared server; does nothing in a worker, or if no test used it."""
    _shared.close()
    start_shared_s3.cache_clear()


@pytest.fixture(scope="session")
def s3() -> S3Server:
    """The shared server; each suite uses buckets of its own."""
    return start_shared_s3()

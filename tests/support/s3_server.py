"""A real S3 server for tests: the embedded one, in a loop of its own thread, so that tests share it."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from orchestrator.storage.embedded_server import EmbeddedS3
from orchestrator.storage.object_store import S3Config

T = TypeVar("T")


class S3Server:
    """Blocking words for an EmbeddedS3; from a coroutine call them through `asyncio.to_thread`."""

    def __init__(self, directory: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="s3-server", daemon=True)
        self._thread.start()
        self.directory = directory
        self.embedded = EmbeddedS3(directory)

    def start(self) -> None:
        self._run(self.embedded.start())

    def stop(self) -> None:
        self._run(self.embedded.stop())

    def access(self, bucket: str) -> S3Config:
        return self.embedded.bucket_config(bucket)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@contextmanager
def running_s3(directory: Path) -> Iterator[S3Server]:
    server = S3Server(directory)
    try:
        server.start()
        yield server
    finally:
        server.close()


_shared = ExitStack()


@cache
def start_shared_s3() -> S3Server:
    """Return the server that the tests of this process share, started at the first call."""
    directory = _shared.enter_context(tempfile.TemporaryDirectory(prefix="pf-s3-"))
    return _shared.enter_context(running_s3(Path(directory)))


def stop_shared_s3() -> None:
    """Stop the shared server; does nothing if no test used it."""
    _shared.close()
    start_shared_s3.cache_clear()


@pytest.fixture(scope="session")
def s3() -> S3Server:
    """The shared server; each suite uses buckets of its own."""
    return start_shared_s3()

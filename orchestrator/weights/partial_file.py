"""Files of an unfinished download: the bytes in `NAME.part`, and the ETag that they belong to."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from orchestrator.weights.errors import PermanentDownloadError


class PartialDownload:
    """The partial file of one download. All methods raise OSError."""

    def __init__(self, target: Path) -> None:
        """`target` is the path of the complete file."""
        self.path = target.with_name(f"{target.name}.part")
        self._target = target
        self._etag_file = target.with_name(f"{target.name}.part.etag")

    @property
    def exists(self) -> bool:
        return self.path.is_file()

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def etag(self) -> str:
        """The strong ETag of the file that the bytes belong to; empty if unknown."""
        return self._etag_file.read_text() if self._etag_file.exists() else ""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Create the file if needed, and lock it. Raises PermanentDownloadError if it is locked already."""
        self._target.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PermanentDownloadError("another process is downloading it") from error
            yield

    @contextmanager
    def open_at(self, offset: int, etag: str) -> Iterator[BinaryIO]:
        """Truncate the file at `offset` and open it to append bytes of the version `etag`."""
        self._etag_file.write_text(etag if etag.startswith('"') else "")
        with self.path.open("r+b") as opened:
            opened.truncate(offset)
            opened.seek(offset)
            yield opened

    def discard(self) -> None:
        """Drop all received bytes."""
        self.path.write_bytes(b"")

    def finish(self) -> None:
        """Rename the complete file to its target."""
        self.path.replace(self._target)
        self._etag_file.unlink(missing_ok=True)

"""What has arrived of a download: `NAME.part` beside the file that it will be, and which file it is of."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from orchestrator.weights.errors import PermanentDownloadError


class PartialDownload:
    """The disk's side of one download. All methods raise OSError."""

    def __init__(self, target: Path) -> None:
        """`target` is where it shall be when it is whole."""
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
        """The server's name for the version that it is of; empty where that is not known for sure."""
        return self._etag_file.read_text() if self._etag_file.exists() else ""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Made if needed, and for one download alone. Raises Refused where another one has it."""
        self._target.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PermanentDownloadError("somebody else is fetching it") from error
            yield

    @contextmanager
    def open_at(self, offset: int, etag: str) -> Iterator[BinaryIO]:
        """Open for what follows byte `begin` of the version `etag`; what is behind that is cut off."""
        self._etag_file.write_text(etag if etag.startswith('"') else "")
        with self.path.open("r+b") as opened:
            opened.truncate(offset)
            opened.seek(offset)
            yield opened

    def discard(self) -> None:
        """Nothing of it is of any use."""
        self.path.write_bytes(b"")

    def finish(self) -> None:
        """It is whole: from now on it has its own name."""
        self.path.replace(self._target)
        self._etag_file.unlink(missing_ok=True)

"""A log file of bounded size for the output of a child process."""

from __future__ import annotations

import logging
import os
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from comfy_instances.protocol.server_log import LogLine, LogSpan, select_lines, to_log_lines
from comfy_instances.repeated_errors import RepeatedErrors

log = logging.getLogger(__name__)
TAIL_LINES = 2_000


class RotatingLogFile:
    """Appends lines, and starts a new file at `max_bytes`.

    The full file is renamed to `NAME.1`, the older `NAME.1` to `NAME.2` and so on; `backup_count` old files
    are kept. Lines that cannot be written, for example on a full disk, are lost: `write` does not fail, and
    the start and the end of the loss are logged once each. `tail` has the lines nevertheless.
    """

    def __init__(self, path: Path, *, max_bytes: int = 4 * 2**20, backup_count: int = 3) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._backup_count = backup_count
        #: Lines with the time at which each was printed.
        self._tail: deque[LogLine] = deque(maxlen=TAIL_LINES)
        self._file: FileIO | None = None
        self._errors = RepeatedErrors(log, f"writing {path}")

    def write(self, line: bytes) -> None:
        """Append a line without its colours; other control characters are escaped, and end no line."""
        lines = to_log_lines(datetime.now(UTC), line.decode("utf-8", "replace"))
        self._tail.extend(lines)
        try:
            self._append("".join(f"{text}\n" for _, text in lines).encode())
        except (OSError, MemoryError) as error:
            self._errors.record(error)
            self._discard_file()
        else:
            self._errors.clear()

    def tail(self, lines: int, period: LogSpan | None = None) -> list[str]:
        """Return the last of the TAIL_LINES lines written last through this object, or of those in a period.

        Lines of a period begin with the time at which they were printed.
        """
        return select_lines(self._tail, lines, period)

    def close(self) -> None:
        """Close the file; a later `write` opens it again."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _discard_file(self) -> None:
        """Open the file again at the next `write`; its state is unknown after an error."""
        with suppress(OSError):
            self.close()

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = FileIO(self.path, "ab", opener=_open_private)
        if self._file.tell() + len(line) > self._max_bytes:
            self.close()
            self._rotate()
            self._file = FileIO(self.path, "wb", opener=_open_private)
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _rotate(self) -> None:
        for number in range(self._backup_count - 1, 0, -1):
            older = self._backup_path(number)
            if older.exists():
                older.replace(self._backup_path(number + 1))
        if self._backup_count > 0:
            self.path.replace(self._backup_path(1))

    def _backup_path(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _open_private(path: str, flags: int) -> int:
    """Open a file that other users cannot read: nodes may print prompts."""
    return os.open(path, flags, 0o600)

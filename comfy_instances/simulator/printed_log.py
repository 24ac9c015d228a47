"""What an instance has printed, as ComfyUI keeps it: the last pieces of text, each with its local time."""

from __future__ import annotations

import io
from collections import deque
from datetime import datetime
from typing import TextIO

#: Pieces of text that are kept.
CAPACITY = 300


class PrintedLog:
    """The log of a process whose streams are recorded."""

    def __init__(self) -> None:
        self._entries: deque[dict[str, str]] = deque(maxlen=CAPACITY)

    def record(self, stream: TextIO) -> TextIO:
        """Return a stream that writes to `stream`, and keeps what it writes."""
        return _RecordedStream(stream, self)

    def add(self, text: str) -> None:
        now = datetime.now()  # noqa: DTZ005 - ComfyUI's times name no zone
        self._entries.append({"t": now.isoformat(), "m": text})

    def entries(self) -> list[dict[str, str]]:
        return list(self._entries)


#: Of this process.
PROCESS_LOG = PrintedLog()


class _RecordedStream(io.TextIOBase, TextIO):
    def __init__(self, stream: TextIO, log: PrintedLog) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        self._log.add(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

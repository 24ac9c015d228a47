"""Parses what a ComfyUI server keeps of its log (`/internal/logs/raw`). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from comfy_instances.log_text import split_lines

#: A line with the time at which it was printed.
LogLine = tuple[datetime, str]
#: The first and the last time of lines that are asked for.
LogSpan = tuple[datetime, datetime]
_ANSI_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def parse_server_log(response: Any) -> list[LogLine]:
    """Return the lines of a response. Its entries are pieces of text, each with the time of its writing.

    The times name no zone; they are taken to be in that of this machine. Raises KeyError, TypeError or
    ValueError for a response that is not ComfyUI's.
    """
    lines: list[LogLine] = []
    begun: LogLine | None = None
    for entry in response["entries"]:
        at, text = datetime.fromisoformat(entry["t"]).astimezone(UTC), begun[1] if begun else ""
        *whole, rest = f"{text}{entry['m']}".split("\n")
        started = begun[0] if begun else at
        for line in whole:
            lines += to_log_lines(started, line)
            started = at
        begun = (started, rest) if rest else None
    return lines + (to_log_lines(*begun) if begun else [])


def to_log_lines(at: datetime, text: str) -> list[LogLine]:
    """Return the lines of a text without its colours; other control characters are escaped."""
    return [(at, line.rstrip()) for line in split_lines(_ANSI_COLOURS.sub("", text))]


def select_lines(lines: Iterable[LogLine], count: int, period: LogSpan | None) -> list[str]:
    """Return the last `count` lines, or those of a period, which begin with the time of each."""
    if count <= 0:
        return []
    if period is None:
        found: Sequence[str] = [text for _, text in lines]
    else:
        since, until = period
        found = [
            f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}  {text}"
            for at, text in lines
            if since <= at <= until
        ]
    return list(found[-count:])

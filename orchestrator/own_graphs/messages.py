"""Messages for callers about errors of their nodes."""

from __future__ import annotations

import re

#: Longest message, in characters.
MAX_MESSAGE = 1000
_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][^/\\\s'\":]+){2,}")
_LAST_PART = re.compile(r"[^/\\]*$")


def hide_paths(text: str) -> str:
    """Return a message with paths of the server shortened to their last part, and of bounded length."""
    return _PATH.sub(_shorten, text[: 4 * MAX_MESSAGE])[:MAX_MESSAGE]


def _shorten(found: re.Match[str]) -> str:
    last = _LAST_PART.search(found[0])
    return last[0] if last else ""

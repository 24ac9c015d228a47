"""Texts of instances, which a store has to take whatever they hold."""

from __future__ import annotations

import re
from dataclasses import replace

from orchestrator.jobs import JobError

#: NUL, which PostgreSQL cannot store, and lone surrogates, which no UTF-8 has.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable_text(text: str) -> str:
    """Return the text with U+FFFD for what databases do not store."""
    return _UNSTORABLE.sub("\ufffd", text)


def storable_error(error: JobError) -> JobError:
    """Return the error with a message that can be stored: a refused settlement would be refused each time."""
    return replace(error, message=storable_text(error.message))

"""The fields of a request as a dialect shows them again: without the bytes of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.store.texts import storable_text

#: Characters of a data URL or another long text that are kept.
SHOWN_CHARACTERS = 48
#: Longest data URL that is kept as it is, and longest other text.
MAX_DATA_URL, MAX_TEXT = 128, 40_000
#: Largest request that is kept, as JSON.
MAX_BYTES = 64 * 1024


def shown_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with long files shortened; nothing if they are very large all the same."""
    shown = {storable_text(name): _shorten(value) for name, value in fields.items()}
    return shown if len(json.dumps(shown)) <= MAX_BYTES else {}


def _shorten(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {storable_text(str(name)): _shorten(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shorten(each) for each in value]
    if not isinstance(value, str):
        return value
    limit = MAX_DATA_URL if value[:5].lower() == "data:" else MAX_TEXT
    if len(value) <= limit:
        return storable_text(value)
    return storable_text(f"{value[:SHOWN_CHARACTERS]}... ({len(value)} characters)")

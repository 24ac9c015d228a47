"""One module per document: its words to ours, ours to its words. No store, no scheduler, no waiting.

A dialect has `to_request` (a body to a GenerationRequest), `to_response` (a job to a body),
`to_error_response` (an
error to a status and a body) and a class with its routes. Which dialect answers an error follows from the
path alone, so that unknown addresses are answered in the right words too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from orchestrator.errors import ServiceError
from orchestrator.web.dialects.pixazo import translation as pixazo
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo

ErrorTranslator = Callable[[ServiceError], tuple[int, dict[str, Any]]]

#: The first pattern that the path begins with decides; all other paths speak Pixel Factory.
ERROR_TRANSLATORS: tuple[tuple[re.Pattern[str], ErrorTranslator], ...] = (
    (re.compile(r"/v1/(image|account)(/|$)"), pixelapi.to_error_response),
    (pixazo.PATH_PATTERN, pixazo.to_error_response),
    (re.compile(r"/api/v1/(models/.+/(run|schema)$|jobs(/|$))"), pixeldojo.to_error_response),
)


def to_error_response(path: str, error: ServiceError) -> tuple[int, dict[str, Any]]:
    """Status and body of an error, as the document describes it that `path` belongs to."""
    for pattern, translate in ERROR_TRANSLATORS:
        if pattern.match(path):
            return translate(error)
    return pixel_factory.to_error_response(error)

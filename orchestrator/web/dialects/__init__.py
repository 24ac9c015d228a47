"""One module per document: its words to ours, ours to its words. No store, no scheduler, no waiting."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import ServiceError
from orchestrator.web.dialects import pixel_factory


def error_body(path: str, error: ServiceError) -> dict[str, Any]:
    """The error as the document describes it that `path` belongs to."""
    return pixel_factory.to_error(error)

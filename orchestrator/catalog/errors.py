"""The error that a model on the disk is invalid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError


class CatalogError(Exception):
    """A model cannot be used. The message names the file and, if known, the key, node or input."""

    def __init__(self, message: str, *, file: Path | str, where: str = "") -> None:
        location = f"{file}: {where}" if where else str(file)
        super().__init__(f"{location}: {message}")
        self.file = Path(file)
        #: Key of the manifest, or `node NODE, input INPUT` of the graph.
        self.where = where
        self.reason = message


def _join_keys(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))


def first_validation_error(
    error: ValidationError,
    file: Path,
    format_location: Callable[[tuple[int | str, ...]], str] = _join_keys,
) -> CatalogError:
    """Return the first error of a validation as a CatalogError."""
    first = error.errors(include_url=False)[0]
    return CatalogError(first["msg"], file=file, where=format_location(first["loc"]))

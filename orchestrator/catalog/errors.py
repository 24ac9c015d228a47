"""The error that a model on the disk is invalid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

#: Longest rejected value that a message repeats, in characters.
_MAX_SHOWN = 60


class CatalogError(Exception):
    """A model cannot be used. The message names the file and, if known, the key, node or input."""

    def __init__(self, message: str, *, file: Path | str, where: str = "") -> None:
        location = f"{file}: {where}" if where else str(file)
        super().__init__(f"{location}: {message}")
        self.file = Path(file)
        #: Key of the manifest, or `node NODE, input INPUT` of the graph.
        self.where = where
        self.reason = message

    @property
    def without_file(self) -> str:
        """The message for those who have no such file: authors who submit a graph."""
        return f"{self.where}: {self.reason}" if self.where else self.reason


def _join_keys(location: tuple[int | str, ...]) -> str:
    """Return a key of the manifest; pydantic's names of parameters have their type, too."""
    is_field = location[:1] == ("parameters",) and len(location) > 2
    return ".".join(map(str, (*location[:2], *location[3:]) if is_field else location))


def first_validation_error(
    error: ValidationError,
    file: Path,
    format_location: Callable[[tuple[int | str, ...]], str] = _join_keys,
) -> CatalogError:
    """Return the first error of a validation as a CatalogError."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    return CatalogError(f"{message}{_got(first['input'])}", file=file, where=format_location(first["loc"]))


def _got(value: object) -> str:
    """Return " (got VALUE)" for a short value; nothing for lists and objects."""
    is_long = isinstance(value, int) and value.bit_length() > _MAX_SHOWN
    shown = repr(value) if isinstance(value, bool | int | float | str) and not is_long else ""
    return f" (got {shown})" if 0 < len(shown) <= _MAX_SHOWN else ""

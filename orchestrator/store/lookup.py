"""Lookups that raise NotFound, with one wording for every implementation."""

from __future__ import annotations

from typing import TypeVar

from orchestrator.errors import NotFound

T = TypeVar("T")


def found(value: T | None, kind: str, id: object, *, code: str | None = None) -> T:
    """Return `value`, or raise NotFound that names the kind of thing and its id if it is None."""
    if value is None:
        raise NotFound(f"There is no {kind} {id!r}.", code=code)
    return value

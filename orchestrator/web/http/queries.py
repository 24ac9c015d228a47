"""Parse and validate query parameters."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import TypeVar

from aiohttp import web

from orchestrator.errors import invalid_field

MAX_PAGE_SIZE = 100
EnumT = TypeVar("EnumT", bound=StrEnum)


def parse_limit(request: web.Request, default: int = 20, maximum: int = MAX_PAGE_SIZE) -> int:
    """Return the page size given by `limit`. Raises InvalidRequest."""
    text = request.query.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= maximum):
        raise invalid_field("limit", f"must be an integer from 1 to {maximum} (got {text[:40]!r})")
    return int(text)


def parse_date(request: web.Request, name: str) -> date | None:
    """Return an ISO date of the query string, or None if it is not given. Raises InvalidRequest."""
    text = request.query.get(name)
    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError as error:
        raise invalid_field(name, f"must be a date such as 2026-01-31 (got {str(text)[:40]!r})") from error


def parse_enum(request: web.Request, name: str, enum_type: type[EnumT]) -> EnumT | None:
    """Return a member of `enum_type`, or None if the parameter is not given. Raises InvalidRequest."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return enum_type(text)
    except ValueError as error:
        raise invalid_field(name, f"must be one of {', '.join(enum_type)} (got {text[:40]!r})") from error


def wants_csv(request: web.Request) -> bool:
    """Return whether CSV is requested: `?format=csv`, or `Accept: text/csv`."""
    return request.query.get("format") == "csv" or request.headers.get("Accept") == "text/csv"

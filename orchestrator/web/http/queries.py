"""Parse and validate query parameters."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TypeVar

from aiohttp import web

from orchestrator.errors import invalid_field
from orchestrator.web.openapi.operation import ParameterSpec

MAX_PAGE_SIZE = 100
#: Before everything.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
TIME_PARAM = ParameterSpec({"type": "string", "format": "date-time"}, "Time with its zone.")
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


def parse_time(request: web.Request, name: str) -> datetime | None:
    """Return a time of the query string with its zone, or None if it is not given. Raises InvalidRequest."""
    text = request.query.get(name)
    if text is None:
        return None
    # A `+` that was not encoded arrives as a space.
    with suppress(ValueError):
        found = datetime.fromisoformat(text.replace(" ", "+"))
        if found.tzinfo is not None and found.year > 1:
            return found
    raise invalid_field(name, f"must be a time such as 2026-01-31T12:00:00Z (got {text[:40]!r})")


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

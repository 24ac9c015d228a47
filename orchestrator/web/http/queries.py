"""Values of query strings, checked."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import TypeVar

from aiohttp import web

from orchestrator.errors import InvalidRequest

MAX_PAGE_SIZE = 100
EnumT = TypeVar("EnumT", bound=StrEnum)


def parse_limit(request: web.Request, default: int = 20, maximum: int = MAX_PAGE_SIZE) -> int:
    """`limit`: how many items a page shall have. Raises InvalidRequest."""
    text = request.query.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= maximum):
        raise InvalidRequest(f"`limit` must be between 1 and {maximum}", code="invalid_limit", param="limit")
    return int(text)


def parse_date(request: web.Request, name: str) -> date | None:
    """A day such as 2026-01-31; None where it is not given. Raises InvalidRequest."""
    text = request.query.get(name)
    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError as error:
        raise InvalidRequest(
            f"`{name}` must be a day such as 2026-01-31", code=f"invalid_{name}", param=name
        ) from error


def parse_enum(request: web.Request, name: str, enum_type: type[EnumT]) -> EnumT | None:
    """One of some words; None where it is not given. Raises InvalidRequest."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return enum_type(text)
    except ValueError as error:
        raise InvalidRequest(
            f"`{name}` must be one of {', '.join(enum_type)}", code=f"invalid_{name}", param=name
        ) from error


def wants_csv(request: web.Request) -> bool:
    """Whether the answer shall be a table: `?format=csv`, or an `Accept` of nothing but that."""
    return request.query.get("format") == "csv" or request.headers.get("Accept") == "text/csv"

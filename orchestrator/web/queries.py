"""Values of query strings, checked."""

from __future__ import annotations

from datetime import date

from aiohttp import web

from orchestrator.errors import InvalidRequest

MAX_PAGE = 100


def limit(request: web.Request, default: int = 20) -> int:
    """`limit`: how many items a page shall have. Raises InvalidRequest."""
    text = request.query.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MAX_PAGE):
        raise InvalidRequest(f"`limit` must be between 1 and {MAX_PAGE}", code="invalid_limit", param="limit")
    return int(text)


def day(request: web.Request, name: str) -> date | None:
    """A day such as 2026-01-31; None where it is not given. Raises InvalidRequest."""
    text = request.query.get(name)
    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError as error:
        raise InvalidRequest(
            f"`{name}` must be a day such as 2026-01-31", code=f"invalid_{name}", param=name
        ) from error

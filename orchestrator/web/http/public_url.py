"""Under which address callers reach the service."""

from __future__ import annotations

from aiohttp import web


def public_base_url(request: web.Request, public_url: str | None) -> str:
    """The one that the operator names, else where the request says that it came to; without a last slash."""
    return (public_url or str(request.url.origin())).rstrip("/")

"""The URL at which callers reach the service."""

from __future__ import annotations

from aiohttp import web


def public_base_url(request: web.Request, public_url: str | None) -> str:
    """Return the configured public URL, or else the origin of the request, without a trailing slash."""
    return (public_url or str(request.url.origin())).rstrip("/")

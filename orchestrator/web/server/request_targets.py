"""Paths of requests as clients join them: a base URL that ends with a slash, a path that ends with one."""

from __future__ import annotations

import re

from aiohttp.http_parser import RawRequestMessage
from yarl import URL

_SLASHES = re.compile("/{2,}")


def normalize_target(message: RawRequestMessage) -> RawRequestMessage:
    """Return a request for the same path without doubled slashes and without one at the end.

    No route differs from another one by these, and a redirect would lose the body with many clients.
    """
    path, separator, query = message.path.partition("?")
    if not path.startswith("/"):
        return message  # an absolute URL, `*`, or no HTTP at all
    normal = normalize_path(path)
    if normal == path:
        return message
    url = URL.build(path=normal, query_string=query, encoded=True)
    return message._replace(path=normal + separator + query, url=url)


def normalize_path(path: str) -> str:
    """Return a path without doubled slashes and without one at the end; the root stays `/`."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"

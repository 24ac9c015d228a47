"""Parse URLs to download from, and the targets of redirects."""

from __future__ import annotations

import re

from yarl import URL

from orchestrator.net.egress import is_http_url

#: Maximum length of a URL; presigned URLs are long.
MAX_URL_LENGTH = 8192
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})

#: Characters that no URL contains, and that could end the request line or a header early.
FORBIDDEN_URL_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\]")


class InvalidHttpUrl(ValueError):
    """A URL or redirect must not be followed; the message says why."""


def parse_http_url(text: str) -> URL:
    """Parse an http(s) URL, keeping ASCII text byte for byte so that signatures in it stay valid.

    Raises InvalidHttpUrl.
    """
    if len(text) > MAX_URL_LENGTH or FORBIDDEN_URL_CHARACTERS.search(text) or not is_http_url(text):
        raise InvalidHttpUrl("it is not an http(s) URL without credentials")
    return URL(text, encoded=text.isascii())


def resolve_redirect(url: URL, location: str) -> URL:
    """Return the target of a redirect from `url`. Raises InvalidHttpUrl, also for https to http."""
    target = parse_http_url(str(url.join(URL(location, encoded=location.isascii()))))
    if url.scheme == "https" and target.scheme != "https":
        raise InvalidHttpUrl("it redirects from https to http")
    return target

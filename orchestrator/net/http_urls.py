"""Parse URLs that callers provide, and the targets of redirects."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from yarl import URL

from orchestrator.net.egress import FORBIDDEN_URL_CHARACTERS, is_http_url
from orchestrator.net.hosts import InvalidHost, is_public_host, parse_host

__all__ = [
    "FORBIDDEN_URL_CHARACTERS",
    "MAX_URL_LENGTH",
    "REDIRECT_STATUSES",
    "HostNotPublic",
    "InvalidHttpUrl",
    "IsPublicAddress",
    "parse_http_url",
    "resolve_redirect",
    "url_receiver",
]

#: Maximum length of a URL; presigned URLs are long.
MAX_URL_LENGTH = 8192
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
DEFAULT_PORTS = {"http": 80, "https": 443}

#: Judges IP addresses; None allows every host, for development.
IsPublicAddress = Callable[[str], bool] | None


class InvalidHttpUrl(ValueError):
    """A URL or redirect must not be followed; the message says why."""


class HostNotPublic(InvalidHttpUrl):
    """A URL names a host outside the public Internet."""

    def __init__(self) -> None:
        super().__init__("it does not lead to a public server")


def parse_http_url(text: str, is_public: IsPublicAddress = None) -> URL:
    """Parse an http(s) URL, keeping ASCII text byte for byte so that signatures in it stay valid.

    `is_public` judges the host, in whatever spelling; names are not resolved here. Raises InvalidHttpUrl.
    """
    if len(text) > MAX_URL_LENGTH or not is_http_url(text):
        raise InvalidHttpUrl("it is not an http(s) URL without credentials")
    try:
        url = URL(text, encoded=text.isascii())
        # Two parsers that disagree about the host could be played off against each other.
        hosts = {parse_host(url.raw_host or ""), parse_host(urlsplit(text).hostname or "")}
    except InvalidHost as error:
        raise HostNotPublic from error
    except ValueError as error:
        raise InvalidHttpUrl("it is not an http(s) URL without credentials") from error
    if len(hosts) > 1 or (is_public and not is_public_host(url.raw_host or "", is_public)):
        raise HostNotPublic
    return url


def resolve_redirect(url: URL, location: str, is_public: IsPublicAddress = None) -> URL:
    """Return the target of a redirect from `url`. Raises InvalidHttpUrl, also for https to http."""
    target = parse_http_url(str(url.join(URL(location, encoded=location.isascii()))), is_public)
    if url.scheme == "https" and target.scheme != "https":
        raise InvalidHttpUrl("it redirects from https to http")
    return target


def url_receiver(text: str) -> str:
    """Return `host:port` of a URL, the same for all spellings of a host; other texts as they are."""
    try:
        url = parse_http_url(text)
        return f"{parse_host(url.raw_host or '')}:{url.port or DEFAULT_PORTS[url.scheme]}"
    except (InvalidHttpUrl, InvalidHost):
        return text

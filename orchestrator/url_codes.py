"""Codes in URLs by which the service recognizes what it has written there itself."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

#: Hexadecimal digits of a code.
CODE_LENGTH = 32


@dataclass(frozen=True, slots=True)
class UrlCodes:
    """Makes and checks the codes of one purpose; codes of other purposes are never valid."""

    secret: str = field(repr=False)
    purpose: str

    def code(self, *parts: str) -> str:
        """Return the code for what the URL names."""
        text = "\n".join((self.purpose, *parts))
        key = self.secret.encode("utf-8", "surrogatepass")
        return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:CODE_LENGTH]

    def is_valid(self, code: str, *parts: str) -> bool:
        """Whether the service has made this code for these parts."""
        expected = self.code(*parts)
        return hmac.compare_digest(code.encode("utf-8", "surrogatepass"), expected.encode())


def find_in_url(url: str, root: str, find: Callable[[str], T | None]) -> T | None:
    """Return what `find` says of the path of a URL whose path may begin with `root`; None for other URLs."""
    if f"{root}/" not in url:
        return None
    try:
        return find(urlsplit(url).path)
    except ValueError:  # the URL cannot be split
        return None

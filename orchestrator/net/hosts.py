"""Read the host of a URL as resolvers do, in every spelling, and decide whether it can be a public server.

`inet_aton` and browsers read `127.1`, `0x7f000001`, `2130706433`, `017700000001` and full-width or circled
digits as 127.0.0.1. `parse_host` returns what a host means, so that all spellings are judged alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote

#: Top-level names that never lead to the public Internet (RFC 6761, 6762, 7686, 8375, 9476, and names that
#: ICANN keeps free because private networks use them). `example` is left out: it is what documents use.
PRIVATE_SUFFIXES = frozenset(
    {
        "alt",
        "corp",
        "home",
        "home.arpa",
        "internal",
        "intranet",
        "invalid",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "onion",
        "private",
        "test",
    }
)
#: Longest host name that the DNS can hold.
MAX_HOST_LENGTH = 253

#: Characters that IDNA reads as a dot and NFKC does not replace.
_DOTS = str.maketrans({"\u3002": ".", "\uff61": "."})
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class InvalidHost(ValueError):
    """A text is neither an IP address nor a host name."""


def parse_host(text: str) -> IPv4Address | IPv6Address | str:
    """Return the address that a host stands for, or its name in lower-case ASCII without a final dot.

    Raises InvalidHost.
    """
    host = _to_plain_text(text)
    if ":" in host:
        return _parse_ipv6(host)
    labels = host.rstrip(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _parse_ipv4(labels)
    name = _to_ascii(".".join(labels))
    if len(name) > MAX_HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise InvalidHost(f"{text[:100]!r} is not a host name")
    return name


def is_public_host(text: str, is_public: Callable[[str], bool]) -> bool:
    """Whether a host can lead to a public server; `is_public` judges IP addresses.

    Names are judged by their form only: those without a dot and those with a private suffix are not public.
    Raises InvalidHost.
    """
    host = parse_host(text)
    if not isinstance(host, str):
        return is_public(str(host))
    labels = host.split(".")
    suffixes = {".".join(labels[start:]) for start in range(len(labels))}
    return len(labels) > 1 and not suffixes & PRIVATE_SUFFIXES


def _to_plain_text(text: str) -> str:
    """Undo percent-encoding and compatibility characters, and remove brackets and invisible characters."""
    decoded = unquote(text, errors="replace").translate(_DOTS)
    visible = "".join(char for char in decoded if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", visible).translate(_DOTS).casefold().strip("[]")


def _to_ascii(name: str) -> str:
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise InvalidHost(f"{name[:100]!r} is not a host name") from error


def _parse_ipv6(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError as error:
        raise InvalidHost(f"{text[:100]!r} is not an IPv6 address") from error


def _parse_ipv4(labels: list[str]) -> IPv4Address:
    """Read 1 to 4 numbers as `inet_aton` does: the last one fills the remaining bytes."""
    numbers = [_parse_number(label) for label in labels]
    *leading, last = numbers
    if len(numbers) > 4 or any(number > 255 for number in leading) or last >= 256 ** (5 - len(numbers)):
        raise InvalidHost(f"{'.'.join(labels)[:100]!r} is not an IPv4 address")
    return IPv4Address(sum(number << 24 - 8 * place for place, number in enumerate(leading)) + last)


def _parse_number(text: str) -> int:
    """Read a decimal, octal (`017`) or hexadecimal (`0x1f`) number."""
    try:
        if len(text) > 40:
            raise ValueError(text)
        if text.startswith("0x"):
            return int(text[2:] or "0", 16)
        return int(text, 8 if text.startswith("0") else 10)
    except ValueError as error:
        raise InvalidHost(f"{text[:100]!r} is not a number") from error

"""HTTP client sessions for URLs that callers provide: they reach only the public Internet.

The IP address is checked when the connection is made. This rejects literal private addresses, names that
resolve to private addresses, and names whose address changes between two lookups (DNS rebinding).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from orchestrator.net.resolver import LookupPoolResolver

#: The IPv6 range that is assigned to the public Internet.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
#: Special-purpose IPv4 ranges that `ipaddress` calls global: protocol assignments and 6to4 relays.
_SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
#: Well-known prefix of NAT64, through which hosts without IPv4 reach the public IPv4 Internet.
_NAT64 = IPv6Network("64:ff9b::/96")
#: Of 6to4; what is embedded decides, since versions of Python differ about the others (RFC 7526).
_SIX_TO_FOUR = IPv6Network("2002::/16")
#: Bits 64 to 95 of ISATAP addresses (RFC 5214); an IPv4 address follows them.
_ISATAP_MARKS = frozenset({0x00005EFE, 0x02005EFE})
#: Characters that no URL contains, and that could end the request line or a header early.
FORBIDDEN_URL_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\]")


class AddressNotPublic(OSError):
    """A URL leads to an address outside the public Internet."""


def is_public_address(address: str) -> bool:
    """Whether an IP address, and an IPv4 address embedded in it, belongs to the public Internet."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast and not any(ip in network for network in _SPECIAL)
    inner = _embedded_ipv4(ip)
    if inner is not None and not is_public_address(str(inner)):
        return False
    return ip in _NAT64 or ip in _SIX_TO_FOUR or (ip in _GLOBAL_UNICAST and ip.is_global)


def create_public_session(
    *,
    allow_private: bool,
    timeout: aiohttp.ClientTimeout,
    resolver: AbstractResolver | None = None,
    is_allowed: Callable[[str], bool] = is_public_address,
) -> aiohttp.ClientSession:
    """Return a client that connects only to addresses for which `is_allowed` returns True.

    `allow_private` allows all addresses, for development. The client keeps no cookies, uses no proxy and does
    not decompress responses. A rejected connection raises `aiohttp.ClientConnectorError` like any failed one;
    its `os_error` is AddressNotPublic if none of the host's addresses is public. The number of connections is
    not limited: callers of this function limit them per account.
    """
    connector = aiohttp.TCPConnector(
        socket_factory=None if allow_private else _socket_factory(is_allowed),
        resolver=resolver or LookupPoolResolver(),
        limit=0,
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )


def is_http_url(text: str) -> bool:
    """Whether a text is an http(s) URL with a host and without credentials."""
    if FORBIDDEN_URL_CHARACTERS.search(text):
        return False
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises ValueError for an invalid port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def _embedded_ipv4(ip: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that is reached through this one (mapped, 6to4, Teredo, NAT64, ISATAP)."""
    if ip in _NAT64 or int(ip) >> 32 & 0xFFFFFFFF in _ISATAP_MARKS:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def _socket_factory(is_allowed: Callable[[str], bool]) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """Return a factory that checks the address before it creates the socket for a connection."""

    def create_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if not is_allowed(str(address[0])):
            # aiohappyeyeballs keeps the exception type only if all attempts fail with the same message.
            raise AddressNotPublic("not a public address")
        created = socket.socket(family, kind, protocol)
        created.setblocking(False)
        return created

    return create_socket

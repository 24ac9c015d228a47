"""Requests to addresses that callers name: they reach the public Internet and nothing of ours.

What counts is the address that a connection is made to, checked at the moment it is made: names that
resolve to something private, literal addresses and names that change their mind are all refused there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

#: The only IPv6 addresses that are given to the public Internet so far.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
#: NAT64's well-known prefix: the public IPv4 Internet as hosts without IPv4 reach it.
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressNotPublic(OSError):
    """A URL leads to an address that callers have no business with."""


def is_public_address(address: str) -> bool:
    """Whether an IP address belongs to the public Internet, also when it is wrapped in another one."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    inner = _embedded_ipv4(ip)
    if inner is not None and not is_public_address(str(inner)):
        return False
    return ip in _NAT64 or (ip in _GLOBAL_UNICAST and ip.is_global)


def create_public_session(
    *,
    allow_private: bool,
    timeout: aiohttp.ClientTimeout,
    resolver: AbstractResolver | None = None,
    is_allowed: Callable[[str], bool] = is_public_address,
) -> aiohttp.ClientSession:
    """A client that only connects to addresses that are `is_allowed`; `allow_private` lifts that, for
    development.

    It keeps no cookies, asks no proxy of ours and unpacks no answer. A refused connection raises
    `aiohttp.ClientConnectorError`, as any other that fails; its `os_error` is AddressNotPublic where none of
    the
    addresses was public.
    """
    connector = aiohttp.TCPConnector(
        socket_factory=None if allow_private else _socket_factory(is_allowed), resolver=resolver
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )


def is_http_url(text: str) -> bool:
    """Whether a text is an http(s) URL with a host and without a password."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises ValueError where it is no number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None


def is_valid_webhook_url(url: str, *, allow_private: bool) -> bool:
    """Whether something could be delivered to a URL; where names lead is looked at when it is."""
    if not is_http_url(url) or not url.isprintable():
        return False
    host = urlsplit(url).hostname or ""
    try:
        public = is_public_address(host)
    except ValueError:
        public = host != "localhost"
    return public or allow_private


def _embedded_ipv4(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that is reached by way of this one (mapped, 6to4, Teredo, NAT64)."""
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def _socket_factory(is_allowed: Callable[[str], bool]) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """Makes the sockets for connections, where it knows exactly whom they will be connected to."""

    def create_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if not is_allowed(str(address[0])):
            # The same words for every address, or aiohappyeyeballs makes a plain OSError of several.
            raise AddressNotPublic("not a public address")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return create_socket

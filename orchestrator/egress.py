"""Requests to addresses that callers name: they reach the public Internet and nothing of ours.

What counts is the address that a connection is made to, checked at the moment it is made: names that
resolve to something private, literal addresses and names that change their mind are all refused there.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import aiohttp


class NotPublic(OSError):
    """A URL leads to an address that callers have no business with."""


def public_session(*, allow_private: bool, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
    """A client that only connects to public addresses; `allow_private` lifts that, for development.

    A refused connection raises `aiohttp.ClientConnectorError`, as any other that fails.
    """
    connector = aiohttp.TCPConnector(socket_factory=None if allow_private else _public_socket)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public Internet, also when it is wrapped in another one."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        return all(each.is_global and not each.is_multicast for each in (_inner(ip), ip) if each)
    return ip.is_global and not ip.is_multicast


def is_web_url(text: str) -> bool:
    """Whether a text is an http(s) URL with a host and without a password."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises ValueError where it is no number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None


def _inner(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that is reached by way of this one (mapped, 6to4, Teredo, NAT64)."""
    if int(ip) >> 32 == 0x64FF9B << 64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def _public_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise NotPublic(f"{address[0]} is not a public address")
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made

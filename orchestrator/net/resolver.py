"""Resolve host names that callers provide, in threads of their own.

The event loop's default threads also encode images and check prompts. A name server that does not respond
holds a thread for up to half a minute, so that a few lookups of one account would stop all of that.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

#: Threads for lookups. Downloads, webhooks and checks of URLs are limited per account to far fewer.
MAX_CONCURRENT_LOOKUPS = 128
_LOOKUP_POOL = ThreadPoolExecutor(MAX_CONCURRENT_LOOKUPS, thread_name_prefix="dns")


class LookupPoolResolver(AbstractResolver):
    """Resolves names with the system's resolver. Raises OSError for names without an address."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return await asyncio.get_running_loop().run_in_executor(_LOOKUP_POOL, _resolve, host, port, family)

    async def close(self) -> None:
        pass


def _resolve(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host,
            host=_to_literal(address),
            port=port,
            family=kind,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, protocol, _, address in found
        if kind in (socket.AF_INET, socket.AF_INET6)
    ]


def _to_literal(address: tuple[Any, ...]) -> str:
    """Return the address of a socket address, with the zone of a link-local IPv6 one."""
    zone = address[3] if len(address) > 3 else 0
    return f"{address[0]}%{zone}" if zone and "%" not in str(address[0]) else str(address[0])

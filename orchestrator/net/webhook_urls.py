"""Check webhook URLs when they are submitted, so that hopeless ones are refused and not retried for a day.

Deliveries check the address again when they connect. One answer for private, unknown and unreachable hosts:
callers cannot find out which names the internal network knows.
"""

from __future__ import annotations

import asyncio
import re
import socket

from aiohttp.abc import AbstractResolver

from orchestrator.fair_slots import FairSlots, TooManyWaiting
from orchestrator.net.egress import is_public_address
from orchestrator.net.hosts import parse_host
from orchestrator.net.http_urls import InvalidHttpUrl, parse_http_url
from orchestrator.net.resolver import LookupPoolResolver

#: Maximum length of a webhook URL.
MAX_WEBHOOK_URL_LENGTH = 2000
#: How long a submission waits for the name server. Without an answer the URL is accepted.
LOOKUP_TIMEOUT_SECONDS = 2.0
MAX_LOOKUPS, MAX_LOOKUPS_PER_ACCOUNT, MAX_WAITING_LOOKUPS = 32, 4, 64
#: Errors of lookups that say that a name has no address, as opposed to a name server that does not respond.
_NO_ADDRESS = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})

#: What a URL may hold that is secret: a name and a password, and what follows a question mark.
_SECRET_PARTS = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)
_MAX_SHOWN = 100


def describe_rejected_url(url: str) -> str:
    """Return what a webhook URL must be, and the one that was given without what may be secret in it."""
    shown = _SECRET_PARTS.sub(lambda found: "***@" if found[0].endswith("@") else f"{found[0][0]}...", url)
    shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
    return (
        "must be an http(s) URL of a public host, without credentials and with at most"
        f" {MAX_WEBHOOK_URL_LENGTH} characters (got {shown!r})"
    )


class WebhookUrlChecker:
    """Decides whether webhooks may be sent to a URL."""

    def __init__(self, *, allow_private: bool, resolver: AbstractResolver | None = None) -> None:
        """`allow_private` accepts all hosts, for development."""
        self._allow_private = allow_private
        self._resolver = resolver or LookupPoolResolver()
        self._slots = FairSlots(
            "webhook URLs", MAX_LOOKUPS, per_account=MAX_LOOKUPS_PER_ACCOUNT, max_waiting=MAX_WAITING_LOOKUPS
        )
        #: Whether the name server knows public names. One without access to the Internet knows none of them.
        self._resolves_public_names = False

    async def is_allowed(self, url: str, account_id: str) -> bool:
        """Whether an account may have webhooks sent to a URL, as far as that can be known now."""
        if len(url) > MAX_WEBHOOK_URL_LENGTH or not url.isprintable():
            return False
        try:
            host = parse_http_url(url, None if self._allow_private else is_public_address).raw_host
        except InvalidHttpUrl:
            return False
        name = parse_host(host or "")
        return self._allow_private or not isinstance(name, str) or await self._may_be_public(name, account_id)

    async def _may_be_public(self, name: str, account_id: str) -> bool:
        """Whether a name has a public address, or may have one."""
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_SECONDS), self._slots.slot(account_id):
                found = await self._resolver.resolve(name, 0, socket.AF_UNSPEC)
        except (TimeoutError, TooManyWaiting):
            return True
        except OSError as error:
            return error.errno not in _NO_ADDRESS or not self._resolves_public_names
        is_public = any(is_public_address(result["host"]) for result in found)
        self._resolves_public_names |= is_public
        return is_public

"""How often callers may ask: by the minutes of their plan, and by address where their keys are wrong.

Minutes are counted from an account's first request on (a fixed window), so that `X-RateLimit-Reset` is
the moment at which all of it comes back. The counts live in memory, or in a Redis that several services
share.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import ceil
from time import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string
from redis.asyncio import ConnectionPool

from orchestrator.errors import NotAuthenticated, RateLimited
from pricing.plans import Plan

log = logging.getLogger(__name__)

#: Seconds.
MINUTE = 60
#: What is refused for a key or token that is wrong, and not for lack of one.
GUESSES = frozenset({"invalid_api_key", "invalid_admin_token"})


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of an account's minute."""

    limit: int
    remaining: int
    #: When it is full again, in seconds since 1970.
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }


class RateLimits:
    """Counts of requests."""

    def __init__(self, url: str, *, failures_per_minute: int, trusted_proxies: int) -> None:
        """`url` is `memory://` or `redis://HOST:PORT/DB`."""
        self._pool = ConnectionPool.from_url(url) if url.startswith("redis") else None
        self._limiter = FixedWindowRateLimiter(_storage(url, self._pool))
        self._failures = RateLimitItemPerMinute(failures_per_minute)
        self._proxies = trusted_proxies

    async def close(self, app: web.Application | None = None) -> None:
        """Lets go of Redis (`on_cleanup`)."""
        if self._pool:
            await self._pool.aclose()

    async def take(self, request: web.Request, account_id: str, plan: Plan) -> None:
        """Counts a request of an account; every answer to it will tell what is left. Raises RateLimited."""
        item = RateLimitItemPerMinute(plan.requests_per_minute)
        within, allowance = await self._hit(item, "account", account_id)
        request[ALLOWANCE] = allowance
        if not within:
            raise RateLimited(
                f"Rate limit exceeded for {plan.id} plan: {plan.requests_per_minute} requests per minute",
                retry_after=_seconds_until(allowance.reset),
            )

    async def fail(self, request: web.Request) -> None:
        """Counts a request with a wrong key. Raises RateLimited for an address that had too many.

        Right keys are let in from there all the same: many callers may share an address, and nobody
        guesses 256 bits.
        """
        within, allowance = await self._hit(self._failures, "address", self._address(request))
        if not within:
            raise RateLimited(
                "Too many requests with a wrong key from this address",
                code="too_many_failures",
                retry_after=_seconds_until(allowance.reset),
            )

    async def _hit(self, item: RateLimitItem, *name: str) -> tuple[bool, Allowance]:
        try:
            within = await self._limiter.hit(item, *name)
            stats = await self._limiter.get_window_stats(item, *name)
            if not within and stats.reset_time > time() + MINUTE + 1:
                # The clock was set back: nobody shall wait for the old time to come round again.
                await self._limiter.clear(item, *name)
                within = True
        except StorageError as error:
            log.warning("request counts are away, nobody is limited: %s", error)
            return True, Allowance(item.amount, item.amount, ceil(time()) + MINUTE)
        return within, Allowance(item.amount, stats.remaining, ceil(stats.reset_time))

    def _address(self, request: web.Request) -> str:
        """Where a request comes from, as told by the outermost proxy that is trusted."""
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
        if self._proxies and len(hops) >= self._proxies and hops[-self._proxies]:
            return hops[-self._proxies]
        return request.remote or "unknown"


#: What is left of the caller's minute, for the answer's headers.
ALLOWANCE = web.RequestKey("allowance", Allowance)


def failures_limited(limits: RateLimits) -> Middleware:
    """Counts what is refused for its key, whatever header and dialect that came in."""

    @web.middleware
    async def count_failures(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except NotAuthenticated as error:
            if error.code in GUESSES:
                await limits.fail(request)
            raise

    return count_failures


async def tell_allowance(request: web.Request, response: web.StreamResponse) -> None:
    """Puts the headers on every answer to a known caller, streams included (`on_response_prepare`)."""
    if ALLOWANCE in request:
        response.headers.update(request[ALLOWANCE].headers)


def _storage(url: str, pool: ConnectionPool | None) -> Storage:
    """Raises `limits.errors.ConfigurationError` for an unknown scheme."""
    options = {"implementation": "redispy", "connection_pool": pool} if pool else {}
    storage = storage_from_string(f"async+{url}", wrap_exceptions=True, **options)  # type: ignore[arg-type]
    assert isinstance(storage, Storage)
    return storage


def _seconds_until(moment: int) -> int:
    return max(1, ceil(moment - time()))

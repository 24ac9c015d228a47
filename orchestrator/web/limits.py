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
WINDOW_SECONDS = 60
#: What is refused for a key or token that is wrong, and not for lack of one.
WRONG_CREDENTIAL_CODES = frozenset({"invalid_api_key", "invalid_admin_token"})


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """What is left of an account's minute."""

    limit: int
    remaining: int
    #: When it is full again, in seconds since 1970.
    reset_at: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_at),
        }


class RateLimiter:
    """Counts of requests."""

    def __init__(self, url: str, *, failures_per_minute: int, trusted_proxies: int) -> None:
        """`url` is `memory://` or `redis://HOST:PORT/DB`."""
        self._redis_pool = ConnectionPool.from_url(url) if url.startswith("redis") else None
        self._limiter = FixedWindowRateLimiter(_open_storage(url, self._redis_pool))
        self._auth_failure_limit = RateLimitItemPerMinute(failures_per_minute)
        self._trusted_proxies = trusted_proxies

    async def close(self, app: web.Application | None = None) -> None:
        """Lets go of Redis (`on_cleanup`)."""
        if self._redis_pool:
            await self._redis_pool.aclose()

    async def enforce_rate_limit(self, request: web.Request, account_id: str, plan: Plan) -> None:
        """Counts a request of an account; every answer to it will tell what is left. Raises RateLimited."""
        item = RateLimitItemPerMinute(plan.requests_per_minute)
        within, allowance = await self._count_hit(item, "account", account_id)
        request[RATE_LIMIT_STATUS] = allowance
        if not within:
            raise RateLimited(
                f"Rate limit exceeded for {plan.id} plan: {plan.requests_per_minute} requests per minute",
                retry_after=_seconds_until(allowance.reset_at),
            )

    async def count_auth_failure(self, request: web.Request) -> None:
        """Counts a request with a wrong key. Raises RateLimited for an address that had too many.

        Right keys are let in from there all the same: many callers may share an address, and nobody
        guesses 256 bits.
        """
        within, allowance = await self._count_hit(
            self._auth_failure_limit, "address", self._client_address(request)
        )
        if not within:
            raise RateLimited(
                "Too many requests with a wrong key from this address",
                code="too_many_failures",
                retry_after=_seconds_until(allowance.reset_at),
            )

    async def _count_hit(self, item: RateLimitItem, *identifiers: str) -> tuple[bool, RateLimitStatus]:
        try:
            within = await self._limiter.hit(item, *identifiers)
            stats = await self._limiter.get_window_stats(item, *identifiers)
            if not within and stats.reset_time > time() + WINDOW_SECONDS + 1:
                # The clock was set back: nobody shall wait for the old time to come round again.
                await self._limiter.clear(item, *identifiers)
                within = True
        except StorageError as error:
            log.warning("request counts are away, nobody is limited: %s", error)
            return True, RateLimitStatus(item.amount, item.amount, ceil(time()) + WINDOW_SECONDS)
        return within, RateLimitStatus(item.amount, stats.remaining, ceil(stats.reset_time))

    def _client_address(self, request: web.Request) -> str:
        """Where a request comes from, as told by the outermost proxy that is trusted."""
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
        if self._trusted_proxies and len(hops) >= self._trusted_proxies and hops[-self._trusted_proxies]:
            return hops[-self._trusted_proxies]
        return request.remote or "unknown"


#: What is left of the caller's minute, for the answer's headers.
RATE_LIMIT_STATUS = web.RequestKey("rate_limit", RateLimitStatus)


def auth_failure_middleware(rate_limiter: RateLimiter) -> Middleware:
    """Counts what is refused for its key, whatever header and dialect that came in."""

    @web.middleware
    async def handle_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except NotAuthenticated as error:
            if error.code in WRONG_CREDENTIAL_CODES:
                await rate_limiter.count_auth_failure(request)
            raise

    return handle_request


async def set_rate_limit_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Puts the headers on every answer to a known caller, streams included (`on_response_prepare`)."""
    if RATE_LIMIT_STATUS in request:
        response.headers.update(request[RATE_LIMIT_STATUS].headers)


def _open_storage(url: str, pool: ConnectionPool | None) -> Storage:
    """Raises `limits.errors.ConfigurationError` for an unknown scheme."""
    options = {"implementation": "redispy", "connection_pool": pool} if pool else {}
    storage = storage_from_string(f"async+{url}", wrap_exceptions=True, **options)  # type: ignore[arg-type]
    assert isinstance(storage, Storage)
    return storage


def _seconds_until(moment: int) -> int:
    return max(1, ceil(moment - time()))

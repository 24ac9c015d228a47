"""Rate limits: requests per account and minute (set by the plan), and failed logins per client address.

The window is fixed and starts with an account's first request, so that `X-RateLimit-Reset` is the time at
which the whole limit is available again. Counters live in memory, or in a Redis shared by several processes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from time import time
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from orchestrator.errors import NotAuthenticated, RateLimited
from pricing.plans import Plan

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

log = logging.getLogger(__name__)

#: Length of the window.
WINDOW_SECONDS = 60
#: Error codes that count as a failed login. A missing key does not.
WRONG_CREDENTIAL_CODES = frozenset({"invalid_api_key", "invalid_admin_token"})


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """The state of an account's rate limit, as sent in response headers."""

    limit: int
    remaining: int
    #: POSIX time at which the whole limit is available again.
    reset_at: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_at),
        }


class RateLimiter:
    """Counts requests and rejects those over the limit."""

    def __init__(
        self,
        counts: str | Storage,
        *,
        failures_per_minute: int,
        trusted_proxies: int,
        now: Callable[[], float] = time,
    ) -> None:
        """`counts` is the storage of counts, or its URL: `memory://` or `redis://HOST:PORT/DB`.

        `now` returns the POSIX time in responses; the storage uses that of this host.
        """
        self._now = now
        self._redis_pool: ConnectionPool | None = None
        if isinstance(counts, str):
            self._redis_pool = _open_redis(counts) if counts.startswith("redis") else None
            counts = _open_storage(counts, self._redis_pool)
        self._limiter = FixedWindowRateLimiter(counts)
        self._auth_failure_limit = RateLimitItemPerMinute(failures_per_minute)
        self._trusted_proxies = trusted_proxies

    async def close(self, app: web.Application | None = None) -> None:
        """Close the connections to Redis (an `on_cleanup` handler)."""
        if self._redis_pool:
            await self._redis_pool.aclose()

    async def enforce_rate_limit(
        self, request: web.Request, account_id: str, plan: Plan, *, is_poll: bool = False
    ) -> None:
        """Count a request of an account and store the status for the response headers.

        Polls have a limit of their own unless the plan counts them as requests. Raises RateLimited.
        """
        own = is_poll and plan.polls_per_minute > 0
        item = RateLimitItemPerMinute(plan.polls_per_minute if own else plan.requests_per_minute)
        within, status = await self._count_hit(item, "polls" if own else "account", account_id)
        request[RATE_LIMIT_STATUS] = status
        if not within:
            counted = "status requests" if own else "requests"
            raise RateLimited(
                f"Rate limit exceeded for {plan.id} plan: {item.amount} {counted} per minute",
                retry_after=self._seconds_until(status.reset_at),
            )

    async def count_auth_failure(self, request: web.Request) -> None:
        """Count a request with a wrong key. Raises RateLimited if its address has sent too many.

        Valid keys from the same address still work: many callers may share it, and a key of 256 bits can not
        be guessed.
        """
        within, status = await self._count_hit(
            self._auth_failure_limit, "address", self._client_address(request)
        )
        if not within:
            raise RateLimited(
                "Too many requests with an invalid API key from this address; retry later",
                code="too_many_failures",
                retry_after=self._seconds_until(status.reset_at),
            )

    async def _count_hit(self, item: RateLimitItem, *identifiers: str) -> tuple[bool, RateLimitStatus]:
        try:
            within = await self._limiter.hit(item, *identifiers)
            stats = await self._limiter.get_window_stats(item, *identifiers)
            if not within and stats.reset_time > time() + WINDOW_SECONDS + 1:
                # The clock was set back: drop the window, which would last until the old time is reached
                # again.
                await self._limiter.clear(item, *identifiers)
                within = True
        except StorageError as error:
            log.warning("rate limit storage is unavailable, requests are not limited: %s", error)
            return True, RateLimitStatus(item.amount, item.amount, ceil(self._now()) + WINDOW_SECONDS)
        return within, RateLimitStatus(
            item.amount, stats.remaining, ceil(stats.reset_time - time() + self._now())
        )

    def _seconds_until(self, moment: int) -> int:
        return max(1, ceil(moment - self._now()))

    def _client_address(self, request: web.Request) -> str:
        """Return the client address that the outermost trusted proxy reports in `X-Forwarded-For`."""
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
        if self._trusted_proxies and len(hops) >= self._trusted_proxies and hops[-self._trusted_proxies]:
            return hops[-self._trusted_proxies]
        return request.remote or "unknown"


#: Rate limit of the authenticated account, for the response headers.
RATE_LIMIT_STATUS = web.RequestKey("rate_limit_status", RateLimitStatus)


def auth_failure_middleware(rate_limiter: RateLimiter) -> Middleware:
    """Return the inner middleware: it counts failed logins, whatever header and dialect the key came in."""

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
    """Set `X-RateLimit-*` on every authenticated response, streams included (`on_response_prepare`)."""
    if RATE_LIMIT_STATUS in request:
        response.headers.update(request[RATE_LIMIT_STATUS].headers)


def _open_redis(url: str) -> ConnectionPool:
    # Imported only here: most services have no Redis.
    from redis.asyncio import ConnectionPool

    return ConnectionPool.from_url(url)


def _open_storage(url: str, pool: ConnectionPool | None) -> Storage:
    """Open the counter storage. Raises `limits.errors.ConfigurationError` for an unknown URL scheme."""
    options = {"implementation": "redispy", "connection_pool": pool} if pool else {}
    storage = storage_from_string(f"async+{url}", wrap_exceptions=True, **options)  # type: ignore[arg-type]
    assert isinstance(storage, Storage)
    return storage

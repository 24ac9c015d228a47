"""Who asks, and whether they may: API keys of callers, the token of operators."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from orchestrator.billing.accounts import Accounts
from orchestrator.billing.api_keys import digest, matches
from orchestrator.errors import Forbidden, NotAuthenticated
from orchestrator.store import ApiKey, ApiKeyScope, Store
from orchestrator.web.limits import RateLimits

__all__ = [
    "DOOR",
    "ApiKey",
    "ApiKeyScope",
    "Door",
    "Enter",
    "authenticate",
    "bearer",
    "by_key",
    "require_admin",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Door:
    """What is asked of before a caller is let in."""

    accounts: Accounts
    limits: RateLimits


DOOR = web.AppKey("door", Door)
#: Lets a request in with the key that it stands for, or raises: by API key, or by a browser's session.
Enter = Callable[[web.Request], Awaitable[ApiKey]]


def bearer(request: web.Request) -> str | None:
    """The token of the `Authorization` header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def authenticate(
    request: web.Request, store: Store, *scopes: ApiKeyScope, token: str | None = None
) -> ApiKey:
    """The key that a request came with, and its request counted.

    The key must have one of `scopes`; where none is named, `read` for looking and `generate` for the rest.
    `token` is the key where it did not come as a bearer token. Raises NotAuthenticated (unknown, revoked and
    expired keys look the same), RateLimited, Forbidden.
    """
    door = request.app[DOOR]
    key = await _known(token or bearer(request), store, door.accounts.now())
    await door.limits.take(request, key.account.id, door.accounts.plan_of(key.account))
    wanted = scopes or ((ApiKeyScope.READ,) if request.method in ("GET", "HEAD") else (ApiKeyScope.GENERATE,))
    if not any(key.has_scope(scope) for scope in wanted):
        words = " or ".join(f"`{scope}`" for scope in wanted)
        raise Forbidden(f"This API key lacks the scope {words}", code="insufficient_scope")
    return key


def by_key(store: Store, scope: ApiKeyScope) -> Enter:
    """Lets in who comes with an API key that has `scope`."""

    async def enter(request: web.Request) -> ApiKey:
        return await authenticate(request, store, scope)

    return enter


def require_admin(request: web.Request, token: str) -> None:
    """Raises NotAuthenticated where the request lacks the operators' token."""
    given = bearer(request) or ""
    if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode()):
        raise NotAuthenticated("This needs the admin token", code="invalid_admin_token")


async def _known(token: str | None, store: Store, now: datetime) -> ApiKey:
    if token is None:
        raise NotAuthenticated(
            "Missing API key: send it as `Authorization: Bearer pk-...`", code="missing_api_key"
        )
    key = await store.find_key(digest(token))
    if key is None or not key.is_usable(now) or not matches(token, key.digest):
        raise NotAuthenticated("Invalid API key")
    return key

"""Who asks, and whether they may: API keys of callers, the token of operators."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from orchestrator.billing.accounts import AccountService
from orchestrator.billing.api_keys import hash_api_key, verify_api_key
from orchestrator.errors import Forbidden, NotAuthenticated
from orchestrator.store import ApiKey, ApiKeyScope, Store
from orchestrator.web.limits import RateLimiter

__all__ = [
    "AUTH_CONTEXT",
    "ApiKey",
    "ApiKeyScope",
    "AuthContext",
    "Authenticator",
    "api_key_authenticator",
    "authenticate",
    "bearer_token",
    "require_admin",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthContext:
    """What is asked of before a caller is let in."""

    accounts: AccountService
    rate_limiter: RateLimiter


AUTH_CONTEXT = web.AppKey("auth_context", AuthContext)
#: Lets a request in with the key that it stands for, or raises: by API key, or by a browser's session.
Authenticator = Callable[[web.Request], Awaitable[ApiKey]]


def bearer_token(request: web.Request) -> str | None:
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
    door = request.app[AUTH_CONTEXT]
    key = await _find_usable_key(token or bearer_token(request), store, door.accounts.now())
    await door.rate_limiter.enforce_rate_limit(request, key.account.id, door.accounts.get_plan(key.account))
    wanted = scopes or ((ApiKeyScope.READ,) if request.method in ("GET", "HEAD") else (ApiKeyScope.GENERATE,))
    if not any(key.has_scope(scope) for scope in wanted):
        words = " or ".join(f"`{scope}`" for scope in wanted)
        raise Forbidden(f"This API key lacks the scope {words}", code="insufficient_scope")
    return key


def api_key_authenticator(store: Store, scope: ApiKeyScope) -> Authenticator:
    """Lets in who comes with an API key that has `scope`."""

    async def authenticate_with_scope(request: web.Request) -> ApiKey:
        return await authenticate(request, store, scope)

    return authenticate_with_scope


def require_admin(request: web.Request, token: str) -> None:
    """Raises NotAuthenticated where the request lacks the operators' token."""
    given = bearer_token(request) or ""
    if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode()):
        raise NotAuthenticated("This needs the admin token", code="invalid_admin_token")


async def _find_usable_key(token: str | None, store: Store, now: datetime) -> ApiKey:
    if token is None:
        raise NotAuthenticated(
            "Missing API key: send it as `Authorization: Bearer pk-...`", code="missing_api_key"
        )
    key = await store.find_key(hash_api_key(token))
    if key is None or not key.is_usable(now) or not verify_api_key(token, key.digest):
        raise NotAuthenticated("Invalid API key")
    return key

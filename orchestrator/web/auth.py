"""Authentication and authorization: API keys with scopes for callers, the admin token for operators."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from aiohttp import web

from orchestrator.billing.accounts import AccountService
from orchestrator.billing.api_keys import hash_api_key, normalize_api_key, verify_api_key
from orchestrator.errors import Forbidden, NotAuthenticated, NotFound
from orchestrator.store import ApiKey, ApiKeyScope
from orchestrator.store.protocol import ApiKeyStore
from orchestrator.web.http.bodies import allow_large_body
from orchestrator.web.http.stream_access import OpenStreams, StreamAccess
from orchestrator.web.rate_limits import RateLimiter
from orchestrator.web.stream_keys import StreamKeys

__all__ = [
    "AUTHENTICATED",
    "AUTH_CONTEXT",
    "OPERATOR_HEADER",
    "ApiKey",
    "ApiKeyScope",
    "AuthContext",
    "Authenticator",
    "api_key_authenticator",
    "authenticate",
    "bearer_token",
    "find_key",
    "find_usable_key",
    "get_stream_access",
    "is_secret",
    "require_admin",
    "require_scope",
]

#: Header in which operators and their tools may say who they are, for the log of their changes.
OPERATOR_HEADER = "X-Operator"
#: Methods that need the scope `read`; all others need `generate`.
READ_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthContext:
    """What authentication needs; stored in the application."""

    keys: ApiKeyStore
    accounts: AccountService
    rate_limiter: RateLimiter
    stream_keys: StreamKeys
    open_streams: OpenStreams = field(default_factory=OpenStreams)


AUTH_CONTEXT = web.AppKey("auth_context", AuthContext)
#: The key of an authenticated request, and the scopes of which it needed one.
AUTHENTICATED: web.RequestKey[tuple[ApiKey, tuple[ApiKeyScope, ...]]] = web.RequestKey("authenticated", tuple)
#: Authenticates a request, by API key or by browser session, and returns the key. Raises like `authenticate`.
Authenticator = Callable[[web.Request], Awaitable[ApiKey]]


def bearer_token(request: web.Request) -> str | None:
    """Return the token of the header `Authorization: Bearer TOKEN`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def authenticate(
    request: web.Request, *scopes: ApiKeyScope, token: str | None = None, is_poll: bool = False
) -> ApiKey:
    """Return the API key of a request and count the request against the account's rate limit.

    The key must have one of `scopes`; by default `read` for GET and HEAD, `generate` for other methods.
    `token` is the key if it was not sent as a bearer token. `is_poll` requests ask for the state of one job:
    they have a limit of their own, so that waiting for a slow job uses up no other requests. Raises
    NotAuthenticated (the same error for unknown, revoked and expired keys), RateLimited, Forbidden.
    """
    auth = request.app[AUTH_CONTEXT]
    key = await _require_usable_key(token or bearer_token(request), auth)
    plan = auth.accounts.get_plan(key.account)
    await auth.rate_limiter.enforce_rate_limit(request, key.account.id, plan, is_poll=is_poll)
    default = ApiKeyScope.READ if request.method in READ_METHODS else ApiKeyScope.GENERATE
    needed = scopes or (default,)
    require_scope(key, *needed)
    request[AUTHENTICATED] = (key, needed)
    allow_large_body(request)
    return key


async def find_key(request: web.Request) -> ApiKey | None:
    """Return the API key of a request that needs none; None without a valid one."""
    token, auth = bearer_token(request), request.app[AUTH_CONTEXT]
    return await find_usable_key(auth.keys, token, auth.accounts.now()) if token else None


def get_stream_access(request: web.Request) -> StreamAccess:
    """Return the access of a stream that responds to an authenticated request."""
    key, scopes = request[AUTHENTICATED]
    auth = request.app[AUTH_CONTEXT]

    async def is_valid() -> bool:
        try:
            current = await auth.stream_keys.get_key(key.id)
        except NotFound:
            return False
        return current.is_usable(auth.accounts.now()) and any(map(current.has_scope, scopes))

    return StreamAccess(account_id=key.account.id, is_valid=is_valid)


def api_key_authenticator(scope: ApiKeyScope) -> Authenticator:
    """Return an authenticator that accepts API keys with `scope`."""

    async def authenticate_with_scope(request: web.Request) -> ApiKey:
        return await authenticate(request, scope)

    return authenticate_with_scope


def require_scope(key: ApiKey, *scopes: ApiKeyScope) -> None:
    """Raise Forbidden if the key has none of `scopes`."""
    if not any(key.has_scope(scope) for scope in scopes):
        needed = " or ".join(f"`{scope}`" for scope in scopes)
        raise Forbidden(
            f"This API key lacks the scope {needed}; use a key that has it, or ask the operator for one",
            code="insufficient_scope",
        )


def require_admin(request: web.Request, token: str) -> None:
    """Raise NotAuthenticated if the request does not carry the admin token."""
    if not is_secret(bearer_token(request), token):
        raise NotAuthenticated(
            "Missing or wrong admin token: send it as `Authorization: Bearer TOKEN`",
            code="invalid_admin_token",
        )
    allow_large_body(request)


def is_secret(given: str | None, expected: str) -> bool:
    """Return whether `given` is the expected secret. A missing or empty one never is."""
    if not given or not expected:
        return False
    return hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass")
    )


async def find_usable_key(keys: ApiKeyStore, token: str, now: datetime) -> ApiKey | None:
    """Return the API key with this secret, or None if it is unknown, revoked or expired."""
    token = normalize_api_key(token)
    key = await keys.find_key(hash_api_key(token))
    if key is None or not key.is_usable(now) or not verify_api_key(token, key.digest):
        return None
    return key


async def _require_usable_key(token: str | None, auth: AuthContext) -> ApiKey:
    if token is None:
        raise NotAuthenticated(
            "Missing API key: send it as `Authorization: Bearer pk-...`", code="missing_api_key"
        )
    key = await find_usable_key(auth.keys, token, auth.accounts.now())
    if key is None:
        raise NotAuthenticated("Invalid API key: it is unknown, revoked or expired")
    return key

"""Who asks: API keys of callers, the token of operators."""

from __future__ import annotations

import hmac

from aiohttp import web

from orchestrator.errors import NotAuthenticated
from orchestrator.keys import digest, matches
from orchestrator.store import Key, Store


def bearer(request: web.Request) -> str | None:
    """The token of the `Authorization` header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def authenticate(request: web.Request, store: Store) -> Key:
    """The key that a request came with. Raises NotAuthenticated; unknown and revoked keys look the same."""
    token = bearer(request)
    if token is None:
        raise NotAuthenticated(
            "Missing API key: send it as `Authorization: Bearer pk-...`", code="missing_api_key"
        )
    key = await store.find_key(digest(token))
    if key is None or key.revoked or not matches(token, key.digest):
        raise NotAuthenticated("Invalid API key")
    return key


def require_admin(request: web.Request, token: str) -> None:
    """Raises NotAuthenticated where the request lacks the operators' token."""
    given = bearer(request) or ""
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise NotAuthenticated("This needs the admin token", code="invalid_admin_token")

"""Who may publish models: operators, and API keys with the scope `publish`."""

from __future__ import annotations

from aiohttp import web

from orchestrator.catalog.publishing.records import Author
from orchestrator.web.auth import ApiKey, ApiKeyScope, authenticate, bearer_token, is_secret, require_admin

_KEY_PREFIX = "pk-"


async def authenticate_author(request: web.Request, admin_token: str) -> tuple[Author, ApiKey | None]:
    """Return the author of a request, and the API key if it is one.

    Raises NotAuthenticated, Forbidden for a key without the scope `publish`, RateLimited.
    """
    token = bearer_token(request) or ""
    if not token.startswith(_KEY_PREFIX) or is_secret(token, admin_token):
        require_admin(request, admin_token)
        return Author(account=None, name="operator", is_operator=True), None
    key = await authenticate(request, ApiKeyScope.PUBLISH)
    return Author(account=key.account.id, name=f"key {key.name} ({key.id})", is_operator=False), key

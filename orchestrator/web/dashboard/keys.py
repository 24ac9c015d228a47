"""The API of the keys page: list, create, rotate and revoke the account's API keys.

Only a key without limits may change keys. Otherwise a limited key could create an unlimited one.
"""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from orchestrator.billing.accounts import NO_LIMITS, AccountService
from orchestrator.errors import Forbidden, InvalidRequest, NotFound
from orchestrator.store import ApiKey, ApiKeyScope
from orchestrator.store.protocol import ApiKeyStore
from orchestrator.web.account.key_schemas import CreateKeyRequest, to_api_key_response
from orchestrator.web.dashboard.sessions import SessionManager
from orchestrator.web.http.request_model import read_request_model
from orchestrator.web.http.response_model import to_json_dict
from orchestrator.web.protocols import ModelOffer

#: Active keys per account.
MAX_KEYS = 100


class ApiKeyRoutes:
    """`/dashboard/api/keys`."""

    def __init__(
        self, store: ApiKeyStore, accounts: AccountService, models: ModelOffer, sessions: SessionManager
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._models = models
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/dashboard/api/keys", self.list_keys),
            web.post("/dashboard/api/keys", self.create_key),
            web.post("/dashboard/api/keys/{id}/rotate", self.rotate_key),
            web.post("/dashboard/api/keys/{id}/revoke", self.revoke_key),
        ]

    async def list_keys(self, request: web.Request) -> web.Response:
        """List all keys, oldest first, including revoked and expired ones.

        `may_change` is whether the caller may change them.
        """
        mine = await self._sessions.require_key(request, ApiKeyScope.READ)
        keys = [self._to_response(key, mine) for key in await self._store.list_keys(mine.account.id)]
        return web.json_response({"keys": keys, "may_change": _is_unlimited(mine)})

    async def create_key(self, request: web.Request) -> web.Response:
        """Create a key. Only this response contains its secret."""
        mine = await self._require_unlimited_key(request)
        form, now = await read_request_model(request, CreateKeyRequest), self._accounts.now()
        limits = form.to_key_limits(self._models.catalog)
        if not limits.scopes <= mine.limits.scopes:
            raise Forbidden(
                "A key cannot give a scope that it lacks; ask the operator for a key with `publish`",
                code="insufficient_scope",
                param="scopes",
            )
        if limits.expires_at is not None and limits.expires_at <= now:
            raise InvalidRequest(
                f"`expires_at` must be in the future (got {limits.expires_at.isoformat()})",
                code="invalid_expires_at",
                param="expires_at",
            )
        key, secret = await self._accounts.create_key(mine.account.id, form.name, limits, max_active=MAX_KEYS)
        return web.json_response({**self._to_response(key, mine), "key": secret}, status=201)

    async def rotate_key(self, request: web.Request) -> web.Response:
        """Create a key with the same name and limits, and revoke the old one.

        A session of the old key continues with the new one, so that the page can show the new secret.
        """
        mine, old = await self._require_own_key(request)
        key, secret = await self._accounts.rotate_key(old.id)
        is_own = old.id == mine.id
        body = {**self._to_response(key, key if is_own else mine), "key": secret}
        response = web.json_response(body, status=201)
        if is_own:
            self._sessions.set_session_cookie(response, await self._sessions.create_session(secret))
        return response

    async def revoke_key(self, request: web.Request) -> web.Response:
        """Revoke a key. Requests with it fail from now on."""
        mine, key = await self._require_own_key(request)
        return web.json_response(
            self._to_response(await self._store.revoke_key(key.id, self._accounts.now()), mine)
        )

    def _to_response(self, key: ApiKey, caller_key: ApiKey) -> dict[str, object]:
        """Return the key as the admin API shows it, with its state and whether it is the caller's own."""
        expired = key.is_expired(self._accounts.now())
        state = "revoked" if key.is_revoked else "expired" if expired else "active"
        return {**to_json_dict(to_api_key_response(key)), "state": state, "current": key.id == caller_key.id}

    async def _require_own_key(self, request: web.Request) -> tuple[ApiKey, ApiKey]:
        """Return the caller's key, and the key of the same account whose id is in the path."""
        mine = await self._require_unlimited_key(request)
        key = await self._store.get_key(request.match_info["id"])
        if key.account.id != mine.account.id:
            # In the store's words: others' keys look like none.
            raise NotFound(f"There is no key {key.id!r}.")
        return mine, key

    async def _require_unlimited_key(self, request: web.Request) -> ApiKey:
        """Return the caller's key. Raise Forbidden if it has limits."""
        key = await self._sessions.require_key_within_rate_limit(request, ApiKeyScope.READ)
        if not _is_unlimited(key):
            raise Forbidden(
                "An API key with limits cannot change keys. Sign in with a key without limits.",
                code="limited_key",
            )
        return key


def _is_unlimited(key: ApiKey) -> bool:
    """Return whether a key has no limits; further scopes are none."""
    scopes = key.limits.scopes
    return replace(key.limits, scopes=scopes & NO_LIMITS.scopes) == NO_LIMITS

"""What the keys page asks for: the account's API keys, made, rotated and revoked by one of them.

Only a key without limits of its own changes keys: nobody gets out of a key's limits by making another.
"""

from __future__ import annotations

from aiohttp import web

from orchestrator.billing.accounts import NO_LIMITS
from orchestrator.errors import Forbidden, InvalidRequest, NotFound
from orchestrator.service import GenerationService
from orchestrator.store import ApiKey, ApiKeyScope
from orchestrator.web.account.key_schemas import CreateKeyRequest, to_api_key_response
from orchestrator.web.dashboard.sessions import SessionManager
from orchestrator.web.http.request_model import read_request_model

MAX_KEYS = 100


class ApiKeyRoutes:
    """`/dashboard/api/keys`."""

    def __init__(self, service: GenerationService, sessions: SessionManager) -> None:
        self._service = service
        self._accounts = service.accounts
        self._store = service.store
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/dashboard/api/keys", self.list_keys),
            web.post("/dashboard/api/keys", self.create_key),
            web.post("/dashboard/api/keys/{id}/rotate", self.rotate_key),
            web.post("/dashboard/api/keys/{id}/revoke", self.revoke_key),
        ]

    async def list_keys(self, request: web.Request) -> web.Response:
        """Oldest first, those that have ended too; and whether the caller may change them."""
        mine = await self._sessions.require_key(request, ApiKeyScope.READ)
        keys = [self._to_response(key, mine) for key in await self._store.list_keys(mine.account.id)]
        return web.json_response({"keys": keys, "may_change": mine.limits == NO_LIMITS})

    async def create_key(self, request: web.Request) -> web.Response:
        """A key, with its secret this once."""
        mine = await self._require_unlimited_key(request)
        form, now = await read_request_model(request, CreateKeyRequest), self._accounts.now()
        limits = form.to_key_limits(self._service.catalog)
        if limits.expires_at is not None and limits.expires_at <= now:
            raise InvalidRequest("`expires_at` has passed", code="invalid_expires_at", param="expires_at")
        if sum(key.is_usable(now) for key in await self._store.list_keys(mine.account.id)) >= MAX_KEYS:
            raise InvalidRequest(f"An account has at most {MAX_KEYS} keys at a time", code="too_many_keys")
        key, secret = await self._accounts.create_key(mine.account.id, form.name, limits)
        return web.json_response({**self._to_response(key, mine), "key": secret}, status=201)

    async def rotate_key(self, request: web.Request) -> web.Response:
        """Another key with the same limits; the old one ends at once.

        Whoever is signed in with the old one stays so with the new one, or would not see its secret.
        """
        mine, old = await self._require_own_key(request)
        key, secret = await self._accounts.rotate_key(old.id)
        staying = old.id == mine.id
        body = {**self._to_response(key, key if staying else mine), "key": secret}
        response = web.json_response(body, status=201)
        if staying:
            self._sessions.set_session_cookie(response, await self._sessions.create_session(secret))
        return response

    async def revoke_key(self, request: web.Request) -> web.Response:
        mine, key = await self._require_own_key(request)
        return web.json_response(
            self._to_response(await self._store.revoke_key(key.id, self._accounts.now()), mine)
        )

    def _to_response(self, key: ApiKey, caller_key: ApiKey) -> dict[str, object]:
        """As operators see it, with how it stands, and whether the caller is signed in with it."""
        expired = key.is_expired(self._accounts.now())
        state = "revoked" if key.is_revoked else "expired" if expired else "active"
        return {**to_api_key_response(key), "state": state, "current": key.id == caller_key.id}

    async def _require_own_key(self, request: web.Request) -> tuple[ApiKey, ApiKey]:
        """The caller's key, and the one of the same account that the path names."""
        mine = await self._require_unlimited_key(request)
        key = await self._store.get_key(request.match_info["id"])
        if key.account.id != mine.account.id:
            # In the store's words: others' keys look like none.
            raise NotFound(f"There is no key {key.id!r}.")
        return mine, key

    async def _require_unlimited_key(self, request: web.Request) -> ApiKey:
        """The caller's key, without limits of its own. Raises Forbidden."""
        key = await self._sessions.require_key_within_rate_limit(request, ApiKeyScope.READ)
        if key.limits != NO_LIMITS:
            raise Forbidden("Only a key without limits of its own may change keys", code="limited_key")
        return key

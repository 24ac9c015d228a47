"""Sessions of signed-in browsers, in a signed cookie.

The cookie contains the id of an API key (not its secret), a session id and an expiry time, with an HMAC of
them. The API key is looked up on every request, so that revoking it ends its sessions at once. Sessions that
were ended by signing out are remembered in the store.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import CIMultiDict

from orchestrator.errors import Forbidden, NotAuthenticated, NotFound
from orchestrator.store import ApiKey, ApiKeyScope
from orchestrator.store.protocol import ApiKeyStore
from orchestrator.store.sessions import SessionStore
from orchestrator.web.auth import (
    AUTH_CONTEXT,
    AUTHENTICATED,
    OPERATOR_HEADER,
    find_usable_key,
    is_secret,
    require_scope,
)
from orchestrator.web.http.bodies import allow_large_body
from orchestrator.web.http.stream_access import StreamAccess

SESSION_COOKIE = "pixelfactory_session"
SESSION_LIFETIME = timedelta(hours=12)
#: Holder of an operator's session. Ids of API keys never have this form.
OPERATOR_HOLDER = "operator"
#: Methods that change nothing. They need no same-origin check and count for no rate limit.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SessionManagerStore(ApiKeyStore, SessionStore, Protocol):
    """The part of the store that sessions need."""


@dataclass(frozen=True, slots=True)
class DashboardSession:
    """The content of a session cookie."""

    #: Id of an API key, or OPERATOR_HOLDER.
    holder: str
    #: Random id, to revoke the session.
    id: str
    #: POSIX time.
    expires_at: int

    def __str__(self) -> str:
        return f"{self.holder}.{self.id}.{self.expires_at}"


class SessionManager:
    """Create, read and revoke sessions.

    Methods that take a request raise NotAuthenticated with the code `not_signed_in` if there is no valid
    session, and Forbidden if the session lacks a permission.
    """

    def __init__(
        self,
        secret: str,
        admin_token: str,
        store: SessionManagerStore,
        clock: Callable[[], datetime],
        *,
        secure: bool,
    ) -> None:
        """`secure`: browsers send the cookie over HTTPS only."""
        self._admin_token = admin_token
        # A new admin token invalidates all sessions, those of operators included.
        self._mac_key = _hmac_sha256(_encode_utf8(secret), admin_token)
        self._store = store
        self._clock = clock
        self._secure = secure

    async def create_session(self, credential: str) -> DashboardSession:
        """Return a new session for an API key or the admin token."""
        if is_secret(credential, self._admin_token):
            return self._new_session(OPERATOR_HOLDER)
        key = await find_usable_key(self._store, credential, self._clock())
        if key is None:
            raise NotAuthenticated(
                "This is neither a valid API key nor the admin token. Check it and try again."
            )
        return self._new_session(key.id)

    def set_session_cookie(self, response: web.StreamResponse, session: DashboardSession) -> None:
        """Set the session cookie. Scripts cannot read it, and requests of other sites do not send it."""
        text = str(session)
        response.set_cookie(
            SESSION_COOKIE,
            f"{text}.{_hmac_sha256(self._mac_key, text).hex()}",
            max_age=int(SESSION_LIFETIME.total_seconds()),
            httponly=True,
            secure=self._secure,
            samesite="Strict",
        )

    async def revoke_session(self, session: DashboardSession) -> None:
        """Reject the cookie of this session from now on, copies included, also after a restart."""
        await self._store.end_session(
            session.id, datetime.fromtimestamp(session.expires_at, UTC), self._clock()
        )

    async def read_session(self, request: web.Request) -> DashboardSession:
        """Return the session of a request. A request that changes something must have the same origin."""
        require_same_origin(request)
        text, _, code = request.cookies.get(SESSION_COOKIE, "").rpartition(".")
        if not is_secret(code, _hmac_sha256(self._mac_key, text).hex()):
            raise NotAuthenticated("You are not signed in. Sign in first.", code="not_signed_in")
        holder, id, expires = text.split(".")
        if int(expires) <= self._clock().timestamp() or await self._store.is_session_ended(id):
            raise NotAuthenticated("The session has expired. Sign in again.", code="not_signed_in")
        return DashboardSession(holder, id, int(expires))

    async def resolve_key(self, request: web.Request) -> ApiKey | None:
        """Return the API key of the session, or None for an operator."""
        session = await self.read_session(request)
        if session.holder == OPERATOR_HOLDER:
            allow_large_body(request)
            return None
        try:
            key = await self._store.get_key(session.holder)
        except NotFound:
            key = None
        if key is None or not key.is_usable(self._clock()):
            raise NotAuthenticated(
                "The API key is revoked or has expired. Sign in with another key.", code="not_signed_in"
            )
        allow_large_body(request)
        return key

    async def require_key(self, request: web.Request, scope: ApiKeyScope | None = None) -> ApiKey:
        """Return the API key of the session. Raise Forbidden for an operator, or if the key lacks `scope`."""
        key = await self.resolve_key(request)
        if key is None:
            raise Forbidden(
                "An operator has no account or wallet. Sign in with an API key.", code="needs_api_key"
            )
        if scope is not None:
            require_scope(key, scope)
        request[AUTHENTICATED] = key, () if scope is None else (scope,)
        return key

    def get_stream_access(self, request: web.Request, key: ApiKey, scope: ApiKeyScope) -> StreamAccess:
        """Return the access of a stream: it ends with the session, the key, or the key's scope."""

        async def is_valid() -> bool:
            try:
                await self.require_key(request, scope)
            except (NotAuthenticated, Forbidden):
                return False
            return True

        return StreamAccess(account_id=key.account.id, is_valid=is_valid)

    async def require_key_within_rate_limit(self, request: web.Request, scope: ApiKeyScope) -> ApiKey:
        """Do the same as `require_key`, and count the request for the rate limit. Raise RateLimited."""
        key, auth = await self.require_key(request, scope), request.app[AUTH_CONTEXT]
        await auth.rate_limiter.enforce_rate_limit(
            request, key.account.id, auth.accounts.get_plan(key.account)
        )
        return key

    async def with_admin_token(self, request: web.Request) -> web.Request:
        """Return the request of an operator with the admin token in its Authorization header."""
        if (await self.read_session(request)).holder != OPERATOR_HOLDER:
            raise Forbidden(
                "Only an operator may do this. Sign in with the admin token.", code="needs_admin_token"
            )
        headers = CIMultiDict(request.headers)
        headers[hdrs.AUTHORIZATION] = f"Bearer {self._admin_token}"
        headers[OPERATOR_HEADER] = "dashboard"
        return request.clone(headers=headers)

    def _new_session(self, holder: str) -> DashboardSession:
        expires = self._clock() + SESSION_LIFETIME
        return DashboardSession(holder, secrets.token_hex(16), int(expires.timestamp()))


def require_same_origin(request: web.Request) -> None:
    """Raise Forbidden if a request that changes something comes from another origin, to prevent CSRF."""
    if request.method in SAFE_METHODS:
        return
    # Browsers send Sec-Fetch-Site over HTTPS and to localhost. Unlike Origin, it does not depend on the Host
    # header, which a proxy may change.
    site = request.headers.get("Sec-Fetch-Site")
    origin = urlsplit(request.headers.get("Origin", "")).netloc
    is_same_origin = site == "same-origin" if site else origin == request.host
    if not is_same_origin:
        raise Forbidden("This request is allowed only from the dashboard's own pages", code="wrong_origin")


def _hmac_sha256(key: bytes, text: str) -> bytes:
    return hmac.digest(key, _encode_utf8(text), hashlib.sha256)


def _encode_utf8(text: str) -> bytes:
    """Encode text from headers or JSON, which may contain lone surrogates."""
    return text.encode("utf-8", "surrogatepass")

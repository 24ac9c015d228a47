"""Who is signed in: a signed cookie that names an API key, never the key itself.

The cookie says who, until when, and carries a message authentication code over both. The key behind it is
looked up at every request, so that a revoked one is out at once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import CIMultiDict

from orchestrator.billing.api_keys import hash_api_key
from orchestrator.errors import Forbidden, NotAuthenticated, NotFound
from orchestrator.store import ApiKey, ApiKeyScope, Store
from orchestrator.web.auth import AUTH_CONTEXT

SESSION_COOKIE = "pixelfactory_session"
SESSION_LIFETIME = timedelta(hours=12)
#: Who holds the admin token; ids of keys look different.
OPERATOR_HOLDER = "operator"
#: What changes nothing.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class DashboardSession:
    """What a cookie says."""

    #: Id of an API key, or OPERATOR.
    holder: str
    #: Random; by it a session is known as ended.
    id: str
    #: POSIX time.
    expires_at: int

    def __str__(self) -> str:
        return f"{self.holder}.{self.id}.{self.expires_at}"


class SessionManager:
    """Opens, reads and ends sessions.

    All raise NotAuthenticated with the code `not_signed_in` where the page shall show the sign-in form, and
    Forbidden for what this session may not do. Ended sessions are remembered by this process until they
    would have expired.
    """

    def __init__(
        self, secret: str, admin_token: str, store: Store, clock: Callable[[], datetime], *, secure: bool
    ) -> None:
        """`secure`: browsers send the cookie by https only."""
        self._admin_token = admin_token
        # With another admin token everybody has to sign in again, operators above all.
        self._mac_key = _hmac_sha256(_encode_utf8(secret), admin_token)
        self._store = store
        self._clock = clock
        self._secure = secure
        self._revoked_sessions: dict[str, int] = {}

    async def create_session(self, credential: str) -> DashboardSession:
        """A session for who has this API key, or this admin token."""
        if hmac.compare_digest(_encode_utf8(credential), _encode_utf8(self._admin_token)):
            return self._new_session(OPERATOR_HOLDER)
        key = await self._store.find_key(hash_api_key(credential))
        if key is None or not key.is_usable(self._clock()):
            raise NotAuthenticated("This is neither a valid API key nor the admin token")
        return self._new_session(key.id)

    def set_session_cookie(self, response: web.StreamResponse, session: DashboardSession) -> None:
        """Gives the browser the cookie, out of reach of scripts and of other sites."""
        text = str(session)
        response.set_cookie(
            SESSION_COOKIE,
            f"{text}.{_hmac_sha256(self._mac_key, text).hex()}",
            max_age=int(SESSION_LIFETIME.total_seconds()),
            httponly=True,
            secure=self._secure,
            samesite="Strict",
        )

    def revoke_session(self, session: DashboardSession) -> None:
        """From now on its cookie is worthless, also to somebody who copied it."""
        now = self._clock().timestamp()
        self._revoked_sessions = {
            id: expires for id, expires in self._revoked_sessions.items() if expires > now
        }
        self._revoked_sessions[session.id] = session.expires_at

    def read_session(self, request: web.Request) -> DashboardSession:
        """The session that a request belongs to, which our own page sent if it changes anything."""
        require_same_origin(request)
        text, _, code = request.cookies.get(SESSION_COOKIE, "").rpartition(".")
        if not hmac.compare_digest(_encode_utf8(code), _encode_utf8(_hmac_sha256(self._mac_key, text).hex())):
            raise NotAuthenticated("Please sign in", code="not_signed_in")
        holder, id, expires = text.split(".")
        if int(expires) <= self._clock().timestamp() or id in self._revoked_sessions:
            raise NotAuthenticated("The session has ended; please sign in again", code="not_signed_in")
        return DashboardSession(holder, id, int(expires))

    async def resolve_key(self, request: web.Request) -> ApiKey | None:
        """The API key that the session stands for; None for an operator."""
        session = self.read_session(request)
        if session.holder == OPERATOR_HOLDER:
            return None
        try:
            key = await self._store.get_key(session.holder)
        except NotFound:
            key = None
        if key is None or not key.is_usable(self._clock()):
            raise NotAuthenticated("The API key is no longer valid", code="not_signed_in")
        return key

    async def require_key(self, request: web.Request, scope: ApiKeyScope | None = None) -> ApiKey:
        """The API key that a request is made with, which has this scope; None: any will do."""
        key = await self.resolve_key(request)
        if key is None:
            raise Forbidden("Operators have no wallet: sign in with an API key", code="needs_api_key")
        if scope is not None and not key.has_scope(scope):
            raise Forbidden(f"This API key lacks the scope `{scope}`", code="insufficient_scope")
        return key

    async def require_key_within_rate_limit(self, request: web.Request, scope: ApiKeyScope) -> ApiKey:
        """The same for what counts as a request of the account; looks do not. Raises RateLimited."""
        key, door = await self.require_key(request, scope), request.app[AUTH_CONTEXT]
        await door.rate_limiter.enforce_rate_limit(
            request, key.account.id, door.accounts.get_plan(key.account)
        )
        return key

    def with_admin_token(self, request: web.Request) -> web.Request:
        """The same request, bearing the admin token that its sender has shown at sign-in."""
        if self.read_session(request).holder != OPERATOR_HOLDER:
            raise Forbidden("Sign in with the admin token to operate", code="needs_admin_token")
        headers = CIMultiDict(request.headers)
        headers[hdrs.AUTHORIZATION] = f"Bearer {self._admin_token}"
        return request.clone(headers=headers)

    def _new_session(self, holder: str) -> DashboardSession:
        expires = self._clock() + SESSION_LIFETIME
        return DashboardSession(holder, secrets.token_hex(16), int(expires.timestamp()))


def require_same_origin(request: web.Request) -> None:
    """Refuses what another site's page, or one at another port of this host, wants to have done."""
    if request.method in SAFE_METHODS:
        return
    # Browsers tell it outright over https and on localhost; there a proxy may even rename the host.
    site = request.headers.get("Sec-Fetch-Site")
    origin = urlsplit(request.headers.get("Origin", "")).netloc
    own = site == "same-origin" if site else origin == request.host
    if not own:
        raise Forbidden("Only this site's own pages may do this", code="wrong_origin")


def _hmac_sha256(key: bytes, text: str) -> bytes:
    return hmac.digest(key, _encode_utf8(text), hashlib.sha256)


def _encode_utf8(text: str) -> bytes:
    """Headers and JSON may carry halves of characters, which are no reason to fail."""
    return text.encode("utf-8", "surrogatepass")

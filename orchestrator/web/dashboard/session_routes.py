"""Routes to sign in and out."""

from __future__ import annotations

from aiohttp import web

from orchestrator.errors import NotAuthenticated
from orchestrator.web.dashboard.sessions import SESSION_COOKIE, SessionManager, require_same_origin
from orchestrator.web.http.bodies import read_fields


class SessionRoutes:
    """`/session`: the session of the browser."""

    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/session", self.get_status),
            web.post("/session", self.sign_in),
            web.delete("/session", self.sign_out),
        ]

    async def get_status(self, request: web.Request) -> web.Response:
        """Return whether the browser is signed in."""
        try:
            await self._sessions.resolve_key(request)
        except NotAuthenticated:
            return web.json_response({"signed_in": False})
        return web.json_response({"signed_in": True})

    async def sign_in(self, request: web.Request) -> web.Response:
        """Exchange an API key or the admin token (`{"credential": "pk-..."}`) for a session cookie."""
        require_same_origin(request)
        credential = (await read_fields(request)).get("credential")
        if not isinstance(credential, str) or not credential.strip():
            raise NotAuthenticated("Enter an API key or the admin token", code="missing_credential")
        response = web.Response(status=204)
        self._sessions.set_session_cookie(response, await self._sessions.create_session(credential.strip()))
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        """Revoke the session and delete its cookie."""
        await self._sessions.revoke_session(await self._sessions.read_session(request))
        response = web.Response(status=204)
        response.del_cookie(SESSION_COOKIE)
        return response

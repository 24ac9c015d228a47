"""Signing in and out."""

from __future__ import annotations

from aiohttp import web

from orchestrator.errors import NotAuthenticated
from orchestrator.web.dashboard.sessions import COOKIE, Sessions, require_same_origin
from orchestrator.web.http.bodies import read_fields


class Entrance:
    """`/session`: the browser's own session."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/session", self.look),
            web.post("/session", self.sign_in),
            web.delete("/session", self.sign_out),
        ]

    async def look(self, request: web.Request) -> web.Response:
        """Whether somebody is signed in."""
        try:
            await self._sessions.visitor(request)
        except NotAuthenticated:
            return web.json_response({"signed_in": False})
        return web.json_response({"signed_in": True})

    async def sign_in(self, request: web.Request) -> web.Response:
        """Takes `{"credential": "pk-..."}` or the admin token, once; the browser gets a cookie instead."""
        require_same_origin(request)
        credential = (await read_fields(request)).get("credential")
        if not isinstance(credential, str) or not credential.strip():
            raise NotAuthenticated("Enter an API key or the admin token", code="missing_credential")
        response = web.Response(status=204)
        self._sessions.remember(response, await self._sessions.open(credential.strip()))
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        self._sessions.end(self._sessions.read(request))
        response = web.Response(status=204)
        response.del_cookie(COOKIE)
        return response
